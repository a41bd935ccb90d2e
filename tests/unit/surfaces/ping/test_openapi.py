"""The OpenAPI document has every route, and every field that a body may have."""

from __future__ import annotations

from typing import Any

from llm_gateway.surfaces.ping.openapi import ping_paths
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.requests import CHAT_FIELDS, COMPLETION_FIELDS
from llm_gateway.surfaces.ping.telemetry import EVENT_FIELDS, METADATA_FIELDS
from tests.fakes.ping_app import PingApp

PATHS = ping_paths()


def body(path: str) -> dict[str, Any]:
    found: dict[str, Any] = PATHS[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert found["additionalProperties"] is False
    return found


def test_every_route_is_in_the_document_s1_26() -> None:
    table = PingApp(PingOptions()).table
    routes = {(method.lower(), path) for method, path in (*table.metered, *table.exact)}
    assert {(method, path) for path, methods in PATHS.items() for method in methods} == routes


def test_every_field_is_in_the_document() -> None:
    assert {*body("/api/llm/completion")["properties"]} == {*COMPLETION_FIELDS}
    assert {*body("/api/llm/chat")["properties"]} == {*CHAT_FIELDS}
    event = body("/telemetry")["properties"]
    assert {*event} == {*EVENT_FIELDS}
    assert {*event["metadata"]["properties"]} == {*METADATA_FIELDS}
    assert event["metadata"]["additionalProperties"] is True


def test_streams_are_in_the_document() -> None:
    for path in ("/api/llm/completion", "/api/llm/chat"):
        assert "text/event-stream" in PATHS[path]["post"]["responses"]["200"]["content"]
