"""A model route from the request's head to the end of its response, over a gateway of fakes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Scope
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.asgi import FakeExchange, Wire, http_scope
from tests.fakes.in_memory import KEY, Answer, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.worker_registry import FakeWorkerRegistry

PATH = "/v1/chat/completions"
BODY = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
STREAMED = msgspec.json.encode(
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
)
REPLY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"oh my"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
)
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Route:
    """The handler of one model route, and everything that it shares with others."""

    def __init__(self, answer: Answer, *, upstream: ScriptedUpstream | None = None, slots: int = 1) -> None:
        self.bench = FakeGateway(provider("a"), upstream=upstream or ScriptedUpstream(a=answer))
        self.bodies = BodyReader(max_bytes=1000, max_total_bytes=10_000, timeout=0.05)
        self.workers = FakeWorkerRegistry()
        plane = DataPlane(
            gateway=self.bench.gateway,
            bodies=self.bodies,
            worker_registry=self.workers,
            max_concurrency=slots,
        )
        self.handler = plane.model_route(PATH, CHAT)

    async def ask(self, *parts: bytes, key: str = KEY, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Wire:
        wire = Wire(*parts)
        await self.handler(request(key, *headers), wire.receive, wire.send, "an-id")
        return wire

    def assert_nothing_is_held(self) -> None:
        assert self.bench.gateway.lifecycle.open == 0
        assert self.workers.inside == 0
        assert self.bodies._in_flight == 0


def request(key: str, *headers: tuple[bytes, bytes]) -> Scope:
    return http_scope("POST", PATH, (b"authorization", b"Bearer " + key.encode()), *headers)


async def test_a_reply_is_sent_and_the_record_has_the_facts_of_the_call() -> None:
    route = Route(FakeReply(REPLY))
    headers = ((b"x-request-id", b"mine"), (b"traceparent", b"00-1"))
    wire = await route.ask(BODY[:9], BODY[9:], headers=headers)
    assert (wire.status, wire.body) == (200, REPLY)
    assert wire.headers[b"x-request-id"] == b"an-id"
    record = route.bench.recorder.record
    assert (record.request_id, record.client_request_id) == ("an-id", "mine")
    assert (record.endpoint, record.method, record.client_ip) == (PATH, "POST", "10.0.0.1")
    assert (record.request_bytes, record.response_bytes) == (len(BODY), len(REPLY))
    [sent] = route.bench.upstream.requests
    assert sent.headers["x-request-id"] == "an-id"
    assert sent.headers["traceparent"] == "00-1"
    route.assert_nothing_is_held()


async def test_our_own_server_hands_over_the_body_and_takes_the_reply_at_once() -> None:
    route = Route(FakeReply(REPLY))
    exchange = FakeExchange(BODY, sends_at_once=True)
    scope = exchange.extend(request(KEY))
    await route.handler(scope, Wire().receive, exchange.send, "an-id")
    [(status, _, body)] = exchange.responses
    assert (status, body) == (200, REPLY)
    assert exchange.messages == []
    assert exchange.on_disconnect is None
    assert route.bench.recorder.record.request_bytes == len(BODY)
    route.assert_nothing_is_held()


async def test_a_stream_is_sent() -> None:
    route = Route(FakeReply(HELLO, STOP, DONE, content_type="text/event-stream"))
    wire = await route.ask(STREAMED)
    assert (wire.body, wire.complete) == (HELLO + STOP + DONE, True)
    assert wire.headers[b"content-type"].startswith(b"text/event-stream")
    route.assert_nothing_is_held()


@pytest.mark.parametrize(
    ("parts", "key", "status", "code"),
    [
        ((BODY,), "sk-other", 401, "invalid_api_key"),
        ((b"{",), KEY, 400, "invalid_json"),
        ((b"x" * 600, b"x" * 600), KEY, 413, "request_too_large"),
        ((BODY,), KEY, 502, "upstream_unreachable"),
    ],
)
async def test_an_error_is_a_response_and_a_record(
    parts: tuple[bytes, ...], key: str, status: int, code: str
) -> None:
    route = Route(TransportError("connect", "refused"))
    wire = await route.ask(*parts, key=key)
    assert (wire.status, wire.error["code"]) == (status, code)
    record = route.bench.recorder.record
    assert (record.status_code, record.error_type) == (status, code)
    assert record.response_bytes == len(wire.body)
    route.assert_nothing_is_held()


async def test_a_body_that_does_not_arrive_is_a_408() -> None:
    route, wire = Route(FakeReply(REPLY)), Wire()

    async def receive() -> Any:
        await asyncio.sleep(3600)

    await route.handler(request(KEY), receive, wire.send, "an-id")
    assert (wire.status, wire.headers[b"connection"]) == (408, b"close")
    route.assert_nothing_is_held()


async def test_a_request_over_the_limit_is_turned_away_and_takes_no_slot() -> None:
    route = Route(FakeReply(REPLY), slots=0)
    wire = await route.ask(BODY)
    assert (wire.status, wire.error["code"], wire.headers[b"retry-after"]) == (503, "overloaded", b"1")
    route.assert_nothing_is_held()


async def test_a_bug_is_a_500_without_details() -> None:
    class Broken(ScriptedUpstream):
        async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
            raise RuntimeError("sk-secret")

    route = Route(FakeReply(b""), upstream=Broken())
    wire = await route.ask(BODY)
    assert (wire.status, wire.error["code"]) == (500, "internal_error")
    assert "sk-secret" not in str(wire.messages)
    assert route.bench.recorder.record.status_code == 500
    route.assert_nothing_is_held()


async def test_a_client_that_leaves_cancels_the_upstream_call() -> None:
    class Slow(ScriptedUpstream):
        def __init__(self) -> None:
            super().__init__()
            self.called, self.cancelled = asyncio.Event(), False

        async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
            self.called.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            raise AssertionError

    upstream, exchange = Slow(), FakeExchange(BODY)
    route = Route(FakeReply(b""), upstream=upstream)
    handling = asyncio.ensure_future(
        route.handler(exchange.extend(request(KEY)), Wire().receive, exchange.send, "an-id")
    )
    await upstream.called.wait()
    assert route.bench.gateway.lifecycle.open == route.workers.inside == 1
    exchange.leave()
    await handling
    assert upstream.cancelled
    assert exchange.messages == []
    record = route.bench.recorder.record
    assert (record.outcome, record.status_code) == ("aborted", 499)
    route.assert_nothing_is_held()


async def test_an_idempotency_key_is_sent_as_the_credentials_own() -> None:
    route = Route(FakeReply(REPLY), slots=9)
    upstream = route.bench.upstream
    upstream.answers["a"] = [lambda _: FakeReply(REPLY)]
    for value in (b"once", b"once", b"twice"):
        await route.ask(BODY, headers=((b"idempotency-key", value), (b"traceparent", b"00-1")))
    sent = [request.headers["idempotency-key"] for request in upstream.requests]
    assert sent[0] == sent[1] != sent[2]
    assert "once" not in sent
    assert {request.headers["traceparent"] for request in upstream.requests} == {"00-1"}
    wire = await route.ask(BODY, key="sk-other", headers=((b"idempotency-key", b"once"),))
    assert wire.status == 401
