"""The query gateway's routes, and what the OpenAPI document says of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import Forbidden, GatewayError, Unauthenticated
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.surfaces.query.options import QueryOptions
from llm_gateway.surfaces.query.routes import query_surface
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.usage_reader import surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry

LISTED = b'{"object":"list","data":[{"id":"gpt-4o"}]}'


def served(bench: FakeGateway) -> Any:
    plane = DataPlane(
        gateway=bench.gateway,
        bodies=BodyReader(max_bytes=10, max_total_bytes=10, timeout=1),
        worker_registry=FakeWorkerRegistry(),
        max_concurrency=1,
    )
    return query_surface(QueryOptions()).routes(surface_services(plane, Prober(bench.gateway, ttl=5)))


async def status(bench: FakeGateway, key: str = KEY) -> dict[str, Any]:
    wire = Wire()
    scope = http_scope("GET", "/api/status", (b"authorization", b"Bearer " + key.encode()))
    await served(bench).exact["GET", "/api/status"](scope, wire.receive, wire.send, "an-id")
    found: dict[str, Any] = msgspec.json.decode(wire.body)
    return found


async def test_s3_20_the_status_has_families_and_providers() -> None:
    bench = FakeGateway(
        provider("openai", 1),
        provider("second", 2),
        provider("claude", 3, provider_type="anthropic"),
        provider("off", 4, is_enabled=False),
        upstream=ScriptedUpstream(
            openai=FakeReply(b"{}", status=500), second=FakeReply(LISTED), claude=FakeReply(b"", status=503)
        ),
    )
    found = await status(bench)
    assert (found["status"], found["openai"], found["claude"], found["gemini"]) == (
        "degraded",
        True,
        False,
        False,
    )
    assert {name: one["status"] for name, one in found["providers"].items()} == {
        "openai": "unhealthy",
        "second": "healthy",
        "claude": "unhealthy",
    }
    assert "sk-secret" not in str(found)


async def test_s3_20_without_a_healthy_provider_nothing_is_available() -> None:
    bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=FakeReply(b"", status=500)))
    assert (await status(bench))["status"] == "unavailable"
    assert (await status(FakeGateway(upstream=ScriptedUpstream())))["status"] == "unavailable"


async def test_s3_20_the_status_needs_a_key() -> None:
    bench = FakeGateway(upstream=ScriptedUpstream(), credentials=(credential(),))
    with pytest.raises(Unauthenticated):
        await status(bench, "sk-wrong")


async def test_errors_are_rendered_in_the_surface_s_own_format() -> None:
    table = served(FakeGateway(upstream=ScriptedUpstream()))
    error: GatewayError = Forbidden("No.")
    assert b'"error_type":"permission"' in table.errors.error_response(error, "id").body
    assert (table.root, {method for method, _ in table.metered}) == ("/v1/gateway/", {"POST"})
