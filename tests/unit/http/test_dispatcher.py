"""The outermost ASGI application: ids, routes, guards, methods, and the log of unmetered requests."""

from __future__ import annotations

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.http.auth import BearerGuard
from llm_gateway.http.dispatcher import Dispatcher, RouteTable, UnmeteredRequest
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from tests.fakes.asgi import Wire, http_scope


async def ok(_scope: Scope, _receive: Receive, send: Send, _request_id: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"raw"})


async def fallback(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/boom":
        raise RuntimeError("sk-secret in a traceback")
    await ok(scope, receive, send, "")


def dispatcher(unmetered: list[UnmeteredRequest] | None = None) -> Dispatcher:
    table = RouteTable(
        metered={("POST", "/v1/x"): ok}, exact={("GET", "/metrics"): ok}, prefix={("GET", "/v1/models/"): ok}
    )
    guards = (
        BearerGuard(("/admin",), Secret("k\u00e9y"), "admin key"),
        BearerGuard(("/metrics",), Secret("ops"), "ops token"),
    )
    return Dispatcher(
        (table,),
        fallback,
        guards,
        OPENAI_ERRORS,
        lambda: "an-id",
        (unmetered if unmetered is not None else []).append,
    )


async def ask(method: str, path: str, *headers: tuple[bytes, bytes]) -> Wire:
    wire = Wire()
    await dispatcher()(http_scope(method, path, *headers), wire.receive, wire.send)
    return wire


async def test_routes_are_found_by_method_and_path() -> None:
    assert (await ask("POST", "/v1/x")).status == 200
    assert (await ask("GET", "/v1/models/a/b")).status == 200
    wire = await ask("GET", "/v1/x")
    assert (wire.status, wire.headers[b"allow"]) == (405, b"POST")
    assert wire.headers[b"x-request-id"] == b"an-id"


@pytest.mark.parametrize("value", [None, b"Bearer wrong", b"Basic key", "Bearer k\u00e9".encode()])
async def test_c30_guarded_paths_need_their_token_before_anything_is_read(value: bytes | None) -> None:
    headers = () if value is None else ((b"authorization", value),)
    for method, path in (("GET", "/admin/v1/providers"), ("POST", "/admin"), ("GET", "/metrics")):
        wire = await ask(method, path, *headers)
        assert wire.status == 401
        assert "wrong" not in str(wire.error)


async def test_a_guard_lets_its_own_token_pass() -> None:
    key = "bearer   k\u00e9y ".encode()
    assert (await ask("GET", "/admin/v1/providers", (b"authorization", key))).status == 200
    assert (await ask("GET", "/metrics", (b"authorization", b"Bearer ops"))).status == 200
    assert (await ask("GET", "/admin/x", (b"authorization", b"Bearer ops"))).status == 401


async def test_a_bug_is_a_500_without_details() -> None:
    unmetered: list[UnmeteredRequest] = []
    wire = Wire()
    await dispatcher(unmetered)(http_scope("GET", "/boom"), wire.receive, wire.send)
    assert (wire.status, wire.error["code"]) == (500, "internal_error")
    assert "sk-secret" not in str(wire.messages)
    assert [(request.path, request.status, request.client_ip) for request in unmetered] == [
        ("/boom", 500, "10.0.0.1")
    ]


async def test_every_unmetered_request_is_reported() -> None:
    unmetered: list[UnmeteredRequest] = []
    for method, path in (
        ("GET", "/v1/models/a"),
        ("GET", "/metrics"),
        ("GET", "/v1/models/"),
        ("POST", "/v1/x"),
    ):
        wire = Wire()
        await dispatcher(unmetered)(
            http_scope(method, path, (b"authorization", b"Bearer ops")), wire.receive, wire.send
        )
    assert [(request.path, request.status) for request in unmetered] == [
        ("/v1/models/a", 200), ("/metrics", 200), ("/v1/models/", 200),
    ]  # fmt: skip
