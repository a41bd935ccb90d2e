"""Events that clients report: what is kept of them, what is refused, and that nothing is billed by them."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.core.secret import Secret
from llm_gateway.surfaces.ping.options import PingOptions
from tests.fakes.in_memory import KEY
from tests.fakes.ping_app import PingApp

DOCUMENTED: dict[str, Any] = {
    "event_type": "custom_event",
    "request_id": "test-123",
    "client_ip": "127.0.0.1",
    "metadata": {
        "client_id": "default_user",
        "soeid": "default_user",
        "project_name": "default_project",
        "target_service": "custom",
        "endpoint": "/custom",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 100.0,
        "request_size": 50,
        "response_size": 200,
    },
}


class App(PingApp):
    """The surface with the default token."""

    def __init__(self) -> None:
        super().__init__(PingOptions(token_secret=Secret("0" * 32), allow_default_token=True))

    async def report(self, body: object, token: str = "1") -> tuple[int, dict[str, Any]]:
        return await self.call("POST", "/telemetry", body, (b"x-api-token", token.encode()))

    async def kept(self, body: object) -> TelemetryEvent:
        status, answer = await self.report(body)
        assert status == 200, answer
        return self.events[-1]


@pytest.fixture
def app() -> App:
    return App()


async def test_the_documented_event_is_kept_field_by_field_s1_6(app: App) -> None:
    status, answer = await app.report(DOCUMENTED)
    assert status == 200
    assert [*answer] == ["id", "status", "timestamp"]
    assert (answer["id"], answer["status"]) == ("an-id", "logged")
    (event,) = app.events
    assert event == TelemetryEvent(
        event_id="an-id",
        created_at=event.created_at,
        event_type="custom_event",
        credential="surface:ping",
        end_user="default_user",
        source_ip=event.source_ip,
        request_id="test-123",
        client_ip="127.0.0.1",
        soeid="default_user",
        project="default_project",
        target_service="custom",
        endpoint="/custom",
        method="POST",
        status_code=200,
        latency_ms=100.0,
        request_bytes=50,
        response_bytes=200,
        attributes={"client_id": "default_user"},
    )


async def test_an_event_needs_a_type_and_no_more(app: App) -> None:
    bodies: tuple[dict[str, Any], ...] = (
        {"event_type": "x"},
        {"event_type": "x", "metadata": {}, "request_id": None},
    )
    for body in bodies:
        event = await app.kept(body)
        assert (event.event_type, event.attributes, event.status_code) == ("x", None, None)
    event = await app.kept({"event_type": "x", "metadata": {"latency_ms": 7, "status_code": None}})
    assert event.latency_ms == 7.0


async def test_a_credential_reports_under_its_own_name(app: App) -> None:
    status, _ = await app.report({"event_type": "x"}, KEY)
    assert status == 200
    assert (app.events[-1].credential, app.events[-1].end_user) == ("tester", None)


async def test_members_of_ones_own_are_kept(app: App) -> None:
    own = {"build": "7", "nested": {"a": [1, 2.5, None, True]}, "text": "line\nbreak"}
    event = await app.kept({"event_type": "x", "metadata": {"soeid": "s", **own}})
    assert (event.soeid, event.attributes) == ("s", own)


REFUSED: list[tuple[object, list[Any]]] = [
    (b"", ["body"]),
    (b"[1]", ["body"]),
    ({}, ["body", "event_type"]),
    ({"event_type": ""}, ["body", "event_type"]),
    ({"event_type": 5}, ["body", "event_type"]),
    ({"event_type": "x" * 300}, ["body", "event_type"]),
    ({"event_type": "x\u0000"}, ["body", "event_type"]),
    ({"event_type": "x", "id": 1}, ["body", "id"]),
    ({"event_type": "x", "request_id": 1}, ["body", "request_id"]),
    ({"event_type": "x", "client_ip": "x" * 300}, ["body", "client_ip"]),
    ({"event_type": "x", "metadata": []}, ["body", "metadata"]),
    ({"event_type": "x", "metadata": {"status_code": "200"}}, ["body", "metadata", "status_code"]),
    ({"event_type": "x", "metadata": {"status_code": 1000}}, ["body", "metadata", "status_code"]),
    ({"event_type": "x", "metadata": {"status_code": -1}}, ["body", "metadata", "status_code"]),
    ({"event_type": "x", "metadata": {"latency_ms": -1}}, ["body", "metadata", "latency_ms"]),
    ({"event_type": "x", "metadata": {"latency_ms": 1e300}}, ["body", "metadata", "latency_ms"]),
    (b'{"event_type": "x", "metadata": {"latency_ms": 1e999}}', ["body", "metadata", "latency_ms"]),
    (b'{"event_type": "x", "metadata": {"latency_ms": NaN}}', ["body"]),
    ({"event_type": "x", "metadata": {"request_size": 2**60}}, ["body", "metadata", "request_size"]),
    ({"event_type": "x", "metadata": {"response_size": 1.5}}, ["body", "metadata", "response_size"]),
    ({"event_type": "x", "metadata": {"soeid": "a\nb"}}, ["body", "metadata", "soeid"]),
    ({"event_type": "x", "metadata": {str(number): 1 for number in range(65)}}, ["body", "metadata"]),
    ({"event_type": "x", "metadata": {"big": "x" * 17_000}}, ["body", "metadata"]),
    (b'{"event_type": "x", "metadata": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}", ["body", "metadata"]),
    (b'{"event_type": "x", "metadata": {"a": ' + b"[" * 9000 + b"]" * 9000 + b"}}", ["body"]),
]


@pytest.mark.parametrize(("body", "place"), REFUSED)
async def test_what_is_not_as_documented_is_refused(app: App, body: object, place: list[Any]) -> None:
    status, answer = await app.report(body)
    assert status == 422, answer
    assert answer["detail"][0]["loc"][: len(place)] == place
    assert app.events == []


async def test_an_event_that_is_too_large_is_refused(app: App) -> None:
    status, answer = await app.report({"event_type": "x", "metadata": {"big": "x" * 40_000}})
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    # What was held of the memory for bodies is free again.
    for _ in range(40):
        await app.report({"event_type": "x", "metadata": {"big": "x" * 40_000}})
    assert (await app.report({"event_type": "x"}))[0] == 200


@pytest.mark.parametrize("token", ["", "nobody-has-it", "a.b.c"])
async def test_a_reporter_must_be_known(app: App, token: str) -> None:
    status, answer = await app.report(DOCUMENTED, token)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert app.events == []
