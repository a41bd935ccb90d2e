"""A surface of another dialect over the real frame: its client gets its words, its row counts their bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import WholeReply
from llm_gateway.http.auth import BearerGuard
from llm_gateway.http.dispatcher import Dispatcher
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import Message
from llm_gateway.surfaces.openai.dialect import CHAT
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from llm_gateway.surfaces.openai.routes import OPENAI
from tests.fakes.caching_gateway import CachingGateway
from tests.fakes.in_memory import KEY, FakeReply, ScriptedUpstream
from tests.fakes.shouting_surface import PATH, SHOUTING, SURFACE
from tests.fakes.usage_reader import surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry

REPLY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"oh my"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
)
ASKED = {"of": "m", "text": "hello"}


def piece(text: str, finish: str = "null") -> bytes:
    delta = msgspec.json.encode({"content": text}).decode()
    return f'data: {{"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'.encode()


STREAM = (piece("a"), piece("b"), piece("", '"stop"'), b"data: [DONE]\n\n")


def streaming(*pieces: bytes | TransportError) -> FakeReply:
    return FakeReply(*pieces, content_type="text/event-stream")


class App:
    """The dispatcher with two surfaces, over a gateway of fakes."""

    def __init__(self, *answers: Any, guards: tuple[BearerGuard, ...] = ()) -> None:
        self.bench = CachingGateway(ScriptedUpstream(a=list(answers)))
        gateway = self.bench.gateway
        bodies = BodyReader(max_bytes=10_000, max_total_bytes=100_000, timeout=5)
        plane = DataPlane(
            gateway=gateway, bodies=bodies, worker_registry=FakeWorkerRegistry(), max_concurrency=10
        )
        prober = Prober(gateway, ttl=60)
        services = surface_services(plane, prober)
        tables = [surface.routes(services) for surface in (OPENAI, SURFACE)]
        self.unmetered: list[Any] = []
        self.app = Dispatcher(
            tables, self.nowhere, guards, OPENAI_ERRORS, lambda: "an-id", self.unmetered.append
        )

    async def nowhere(self, *_: object) -> None:
        raise RuntimeError("nothing is there")

    async def ask(self, path: str = PATH, *, key: str = KEY, method: str = "POST", **changes: Any) -> Client:
        headers = [(b"x-shout-key", key.encode()), (b"x-shout-agent", b"smith")]
        headers += [(b"x-llm-gateway-cache", changes.pop("cache").encode())] if "cache" in changes else []
        client = Client(msgspec.json.encode({**ASKED, **changes}))
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": None}
        await self.app(scope, client.receive, client.send)
        return client


class Client:
    def __init__(self, body: bytes) -> None:
        self.asked = body
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = False

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": self.asked, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not self.status
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]
            self.complete = not message.get("more_body", False)


async def test_a_whole_reply_is_translated_and_its_own_size_is_recorded() -> None:
    app = App(FakeReply(REPLY))
    client = await app.ask()
    assert (client.status, client.body) == (200, b"m SAYS OH MY")
    assert client.headers[b"content-type"] == b"text/x-shout"
    record = app.bench.recorder.record
    assert (record.outcome, record.response_bytes) == ("ok", len(client.body))
    assert (record.total_tokens, record.usage_source) == (3, "provider")


@pytest.mark.parametrize(
    ("pieces", "body", "outcome"),
    [
        (STREAM, b"<A><B>THE END", "ok"),
        ((piece("a"), TransportError("cut", "cut")), b"<A>BROKEN OFF: upstream_cut", "error"),
        (
            (piece("a"), b'data: {"error":{"message":"no","code":"died"}}\n\n'),
            b"<A>BROKEN OFF: died",
            "error",
        ),
        ((piece("a"), piece("boom"), piece("c")), b"<A>BROKEN OFF: internal_error", "error"),
    ],
)
async def test_a_stream_is_translated_to_its_end(
    pieces: tuple[bytes | TransportError, ...], body: bytes, outcome: str
) -> None:
    app = App(streaming(*pieces))
    client = await app.ask(live=True)
    assert (client.status, client.body, client.complete) == (200, body, True)
    assert client.headers[b"content-type"] == b"text/x-shouts"
    record = app.bench.recorder.record
    assert (record.outcome, record.response_bytes) == (outcome, len(body))


async def test_a_fault_before_the_response_begins_is_an_error_response() -> None:
    app = App(streaming(piece("boom")))
    client = await app.ask(live=True)
    assert (client.status, client.body) == (501, b"NO (an-id): internal_error")
    record = app.bench.recorder.record
    assert (record.outcome, record.status_code) == ("error", 501)
    assert record.response_bytes == len(client.body)


@pytest.mark.parametrize("live", [False, True])
async def test_cached_answers_are_translated_too(live: bool) -> None:
    app = App(streaming(*STREAM) if live else FakeReply(REPLY))
    bodies = [(await app.ask(cache="on", live=live)).body for _ in range(2)]
    assert app.bench.results == {"miss": 1, "hit": 1}
    assert b"".join(bodies).replace(b"<AB>", b"<A><B>") == (b"<A><B>THE END" if live else b"m SAYS OH MY") * 2
    assert [record.response_bytes for record in app.bench.recorder.records] == [len(body) for body in bodies]


@pytest.mark.parametrize(("key", "code"), [("unknown", 402), (KEY, 401)])
async def test_errors_have_the_surfaces_shape_and_are_counted(key: str, code: int) -> None:
    app = App(FakeReply(REPLY))
    client = await app.ask(key=key, text=5)
    assert client.status == code
    assert client.body.startswith(b"NO (an-id): ")
    record = app.bench.recorder.record
    assert (record.status_code, record.response_bytes) == (code, len(client.body))


async def test_paths_below_the_surface_answer_in_its_shape() -> None:
    app = App(FakeReply(REPLY))
    assert (await app.ask("/shout/other")).body == b"NO (an-id): not_found"
    assert (await app.ask(method="GET")).body == b"NO (an-id): method_not_allowed"
    assert b'"error"' in (await app.ask("/other")).body


async def test_a_guard_holds_on_a_metered_route() -> None:
    app = App(FakeReply(REPLY), guards=(BearerGuard(("/shout",), Secret("s"), "key"),))
    client = await app.ask()
    assert (client.status, client.body) == (402, b"NO (an-id): invalid_api_key")
    assert app.bench.recorder.records == []
    assert [request.status for request in app.unmetered] == [402]


async def test_a_failed_upstream_is_an_error_in_the_surfaces_shape() -> None:
    app = App(FakeReply(b"{}", status=403))
    client = await app.ask()
    record = app.bench.recorder.record
    assert (client.status, record.status_code, record.outcome) == (404, 404, "error")
    assert record.response_bytes == len(client.body)


async def test_what_a_client_got_before_it_left_is_counted_as_sent() -> None:
    app = App(streaming(*STREAM[:2]))
    call = app.bench.call(dialect=SHOUTING)
    asked = msgspec.json.encode({**ASKED, "live": True})
    reply = await handle(app.bench.gateway, call, lambda: asked)
    assert not isinstance(reply, WholeReply)
    received = bytearray()
    data, _ = await reply.next()
    received += data

    def leave_after(piece: bytes) -> bool:
        received.extend(piece)
        return False

    await reply.relay(leave_after)
    reply.close()
    await app.bench.gateway.background.drain(5)
    record = app.bench.recorder.record
    assert bytes(received) == b"<A><B>"
    assert (record.outcome, record.response_bytes) == ("aborted", len(received))


def test_a_request_says_on_whose_behalf_it_is_sent() -> None:
    call = App(FakeReply()).bench.call()
    call.headers = [(b"x-shout-agent", b"smith")]
    _, attribution = SHOUTING.read(msgspec.json.encode(ASKED), call)
    assert attribution == Attribution(agent="smith")
    assert CHAT.read(b'{"model":"m","messages":[]}', call)[1] is NO_ATTRIBUTION
