"""The outermost frame: ids, guards, methods, errors, and the client that hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from llm_gateway.core.errors import BodyTooLarge, RateLimited
from llm_gateway.core.secret import Secret
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.auth import BearerGuard, bearer
from llm_gateway.http.disconnect import CancelOnDisconnect
from llm_gateway.http.dispatcher import Dispatcher, RouteTable, UnmeteredRequest
from llm_gateway.http.errors import send_error
from llm_gateway.http.framework_errors import add_error_handlers
from llm_gateway.http.request_context import RequestContext
from llm_gateway.http.types import Message, Receive, Scope, Send
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.surfaces.openai.dialect import CHAT
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS


class Wire:
    """One request over a shell, and what came back."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = msgspec.json.decode(self.messages[1]["body"])["error"]
        return error


def scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "method": method, "path": path, "headers": headers, "client": ("10.0.0.1", 5)}


async def ok(_scope: Scope, _receive: Receive, send: Send, _request_id: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"raw"})


async def rest(the_scope: Scope, receive: Receive, send: Send) -> None:
    if the_scope["path"] == "/boom":
        raise RuntimeError("sk-secret in a traceback")
    await ok(the_scope, receive, send, "")


def shell(others: list[UnmeteredRequest] | None = None) -> Dispatcher:
    table = RouteTable(
        metered={("POST", "/v1/x"): ok}, exact={("GET", "/metrics"): ok}, prefix={("GET", "/v1/models/"): ok}
    )
    guards = (
        BearerGuard(("/admin",), Secret("k\u00e9y"), "admin key"),
        BearerGuard(("/metrics",), Secret("ops"), "ops token"),
    )
    return Dispatcher(
        (table,), rest, guards, OPENAI_ERRORS, lambda: "an-id", (others if others is not None else []).append
    )


async def ask(method: str, path: str, *headers: tuple[bytes, bytes]) -> Wire:
    wire = Wire()
    await shell()(scope(method, path, *headers), wire.receive, wire.send)
    return wire


async def test_routes_are_found_by_method_and_path() -> None:
    assert (await ask("POST", "/v1/x")).status == 200
    assert (await ask("GET", "/v1/models/a/b")).status == 200
    wire = await ask("GET", "/v1/x")
    assert (wire.status, wire.headers[b"allow"]) == (405, b"POST")
    assert wire.headers[b"x-request-id"] == b"an-id"


@pytest.mark.parametrize("value", [None, b"Bearer wrong", b"Basic key", "Bearer k\u00e9".encode()])
async def test_c30_guarded_paths_want_their_token_before_anything_is_read(value: bytes | None) -> None:
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


async def test_a_fault_of_ours_is_a_500_that_tells_nothing() -> None:
    others: list[UnmeteredRequest] = []
    wire = Wire()
    await shell(others)(scope("GET", "/boom"), wire.receive, wire.send)
    assert (wire.status, wire.error["code"]) == (500, "internal_error")
    assert "sk-secret" not in str(wire.messages)
    assert [(other.path, other.status, other.client_ip) for other in others] == [("/boom", 500, "10.0.0.1")]


async def test_an_error_has_openais_shape_and_whole_seconds_to_wait() -> None:
    wire = Wire()
    await send_error(wire.send, OPENAI_ERRORS, RateLimited("slow", retry_after=0.2), "an-id")
    assert wire.error == {
        "message": "slow",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert wire.headers[b"retry-after"] == b"1"
    wire = Wire()
    await send_error(wire.send, OPENAI_ERRORS, BodyTooLarge("bad", param="model"), "an-id")
    assert wire.error["param"] == "model"
    assert wire.headers[b"connection"] == b"close"


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer sk-1", "sk-1"),
        (b"bearer sk-1", "sk-1"),
        (b"  BEARER    sk-1  ", "sk-1"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic sk-1", None),
        (b"sk-1", None),
        (b"", None),
        ("Bearer sk-\u00e9".encode(), "sk-\u00e9"),
    ],
)
def test_c37_bearer_in_any_case_with_any_spaces(value: bytes, token: str | None) -> None:
    assert bearer(value) == token


def test_c41_only_listed_headers_go_on() -> None:
    headers = (
        (b"authorization", b"Bearer sk-1"),
        (b"cookie", b"a=b"),
        (b"x-request-id", b"mine"),
        (b"traceparent", b"00-1"),
        (b"x-forwarded-for", b"1.2.3.4"),
    )
    context = RequestContext(scope("POST", "/v1/x", *headers), CHAT)
    assert context.forwarded == {"traceparent": "00-1"}
    assert (context.client_request_id, context.client_ip) == ("mine", "10.0.0.1")
    hasher = Blake2KeyHasher(b"pepper")
    assert context.api_key is not None
    assert context.api_key.digest(hasher) == context.api_key.digest(hasher) == hasher.hash("sk-1")


class Hook:
    """The part of an exchange that tells of the client's leaving."""

    def __init__(self) -> None:
        self.callback: Any = None
        self.gone = False
        self.head_state: dict[str, Any] | None = None

    def register(self, callback: Any) -> None:
        self.callback = callback

    def unregister(self) -> None:
        self.callback = None

    def leave(self) -> None:
        self.gone = True
        self.callback()

    async def send(self, message: Message) -> None:
        del message

    def receive_nowait(self) -> Message | None:
        return None

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        del status, headers, body
        return False

    def sink(self) -> Callable[[bytes], bool] | None:
        return None


async def until_hangup(hook: Hook, work: Awaitable[None]) -> None:
    with CancelOnDisconnect(hook):
        await work


async def test_a_client_that_hangs_up_cancels_the_work() -> None:
    hook = Hook()
    undone = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            undone.set()

    task = asyncio.ensure_future(until_hangup(hook, work()))
    await asyncio.sleep(0)
    hook.leave()
    with pytest.raises(ClientDisconnected):
        await task
    assert undone.is_set()
    assert hook.callback is None


async def test_a_cancellation_of_the_server_is_no_hang_up() -> None:
    hook = Hook()
    task = asyncio.ensure_future(until_hangup(hook, asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fault_in_a_fastapi_route_has_openais_shape_too() -> None:
    app = FastAPI(openapi_url=None)
    add_error_handlers(app, OPENAI_ERRORS)

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("sk-secret in a traceback")

    wire = Wire()
    the_scope = {
        **scope("GET", "/fault"), "query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    front = Dispatcher((), app, (), OPENAI_ERRORS, lambda: "an-id", lambda _: None)
    await front(the_scope, wire.receive, wire.send)
    assert (wire.status, wire.error["code"]) == (500, "internal_error")
    assert wire.headers[b"x-request-id"] == b"an-id"
    assert "sk-secret" not in str(wire.messages)


async def test_every_request_that_is_not_metered_is_told_of() -> None:
    others: list[UnmeteredRequest] = []
    for method, path in (
        ("GET", "/v1/models/a"),
        ("GET", "/metrics"),
        ("GET", "/v1/models/"),
        ("POST", "/v1/x"),
    ):
        wire = Wire()
        await shell(others)(scope(method, path, (b"authorization", b"Bearer ops")), wire.receive, wire.send)
    assert [(other.path, other.status) for other in others] == [
        ("/v1/models/a", 200), ("/metrics", 200), ("/v1/models/", 200),
    ]  # fmt: skip
