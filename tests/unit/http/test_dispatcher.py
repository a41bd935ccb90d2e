"""The outermost ASGI application: ids, routes, guards, methods, and the log of unmetered requests."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import ErrorFormat, ErrorResponse
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


def under_v1(unmetered: list[UnmeteredRequest] | None = None) -> Dispatcher:
    async def show_path(scope: Scope, _receive: Receive, send: Send, _request_id: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async def fall_back(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']}".encode()})

    table = RouteTable(
        metered={("POST", "/v1/x"): show_path, ("POST", "/v1/responses"): show_path},
        exact={("GET", "/v1/models"): show_path},
        prefix={("GET", "/v1/models/"): show_path},
        errors=OPENAI_ERRORS,
        root="/v1/",
        aliases=("/openai/v1/", "/openai/"),
    )
    guards = (BearerGuard(("/admin",), Secret("key"), "admin key"),)
    report = (unmetered if unmetered is not None else []).append
    return Dispatcher((table,), fall_back, guards, OPENAI_ERRORS, lambda: "an-id", report)


async def ask_v1(method: str, path: str, *headers: tuple[bytes, bytes], raw: str | None = None) -> Wire:
    wire = Wire()
    more = {} if raw is None else {"raw_path": raw.encode()}
    await under_v1()(http_scope(method, path, *headers, **more), wire.receive, wire.send)
    return wire


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/a/b", "/openai/v1/models", "/openai/v1/models/a"])
async def test_head_is_answered_where_get_is(path: str) -> None:
    """The server leaves out the body."""
    head, get = await ask_v1("HEAD", path), await ask_v1("GET", path)
    assert (head.status, head.headers) == (get.status, get.headers) == (200, head.headers)


async def test_head_of_other_paths_is_the_fallbacks() -> None:
    assert (await ask_v1("HEAD", "/docs")).body == b"GET /docs"
    wire = await ask_v1("HEAD", "/v1/x")
    assert (wire.status, wire.headers[b"allow"]) == (405, b"POST")
    assert (await ask_v1("DELETE", "/v1/models")).headers[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize(
    ("method", "path", "seen"),
    [
        ("POST", "/openai/v1/responses", b"/openai/v1/responses"),
        ("GET", "/openai/v1/models", b"/v1/models"),
        ("GET", "/openai/models/a", b"/v1/models/a"),
        ("POST", "/openai/x", b"/openai/x"),
        ("GET", "/openai/v1/models/openai/v1", b"/v1/models/openai/v1"),
    ],
)
async def test_c45_every_path_exists_below_an_alias(method: str, path: str, seen: bytes) -> None:
    """A metered handler knows its own path; others see the path without the alias."""
    wire = await ask_v1(method, path)
    assert (wire.status, wire.body) == (200, seen)


WEBSOCKET = ((b"upgrade", b"WebSocket"), (b"sec-websocket-version", b"13"))


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/realtime", "/openai/v1/responses", "/openai/realtime"]
)
async def test_a_websocket_is_refused_so_that_clients_turn_to_http(path: str) -> None:
    wire = await ask_v1("GET", path, *WEBSOCKET)
    assert (wire.status, wire.error["code"]) == (426, "websocket_not_supported")
    assert (wire.headers[b"upgrade"], wire.headers[b"connection"]) == (b"HTTP/1.1", b"upgrade")
    assert wire.headers[b"x-should-retry"] == b"false"


async def test_an_upgrade_is_ignored_elsewhere() -> None:
    assert (await ask_v1("GET", "/v1/models", *WEBSOCKET)).status == 200
    assert (await ask_v1("POST", "/v1/x", *WEBSOCKET)).status == 200
    assert (await ask_v1("GET", "/docs", *WEBSOCKET)).status == 299
    assert (await ask_v1("GET", "/admin/v1/x", (b"authorization", b"Bearer key"), *WEBSOCKET)).status == 299
    assert (await ask_v1("GET", "/v1/responses", (b"upgrade", b"h2c"))).status == 405


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("path", ["/x", "/v1/v1/x", "//v1/x", "/v1/x/"])
async def test_a_path_that_does_not_exist_names_the_one_that_was_meant(method: str, path: str) -> None:
    wire = await ask_v1(method, path, raw=path)
    assert (wire.status, wire.error["code"]) == (404, "not_found")
    assert "Did you mean /v1/x?" in wire.error["message"]


@pytest.mark.parametrize(
    ("path", "raw", "seen"),
    [
        ("/admin/v1/providers/", "/admin/v1/providers/", b"GET /admin/v1/providers"),
        ("/admin/v1/models//", "/admin/v1/models//", b"GET /admin/v1/models"),
        ("/docs/", "/docs/", b"GET /docs"),
        # The name of a model may end with a slash.
        ("/admin/v1/models/a/", "/admin/v1/models/a%2F", b"GET /admin/v1/models/a/"),
        ("/nothing", "/nothing", b"GET /nothing"),
    ],
)
async def test_a_slash_at_the_end_is_no_redirect(path: str, raw: str, seen: bytes) -> None:
    for method in ("GET", "HEAD"):
        wire = await ask_v1(method, path, (b"authorization", b"Bearer key"), raw=raw)
        assert (wire.status, wire.body) == (299, seen)


async def test_admin_paths_are_not_taken_for_those_of_clients() -> None:
    assert (await ask_v1("GET", "/admin/v1/models", (b"authorization", b"Bearer key"))).status == 299
    assert (await ask_v1("GET", "/admin/v1/models/")).status == 401


async def test_a_path_below_another_table_s_root_has_its_own_errors() -> None:
    class Shouted(ErrorFormat):
        def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
            del request_id
            return ErrorResponse(error.status, (), b"NO")

    outer = RouteTable(exact={("GET", "/v1/models"): ok}, errors=OPENAI_ERRORS, root="/v1/")
    inner = RouteTable(metered={("POST", "/v1/own/x"): ok}, errors=Shouted(), root="/v1/own/")
    for tables in ((outer, inner), (inner, outer)):
        mixed = Dispatcher(tables, fallback, (), OPENAI_ERRORS, lambda: "an-id", lambda _: None)
        wire = Wire()
        await mixed(http_scope("GET", "/v1/own/x"), wire.receive, wire.send)
        assert (wire.status, wire.body) == (405, b"NO")
        wire = Wire()
        await mixed(http_scope("POST", "/v1/models"), wire.receive, wire.send)
        assert wire.error["code"] == "method_not_allowed"
