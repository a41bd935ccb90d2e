"""Replies over ASGI: whole ones in one step where the server can, and streams that are always closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_gateway.core.errors import GatewayError, UpstreamFailed
from llm_gateway.flow.ports.dialect import Headers
from llm_gateway.flow.request.reply import ByteStream, WholeReply
from llm_gateway.http.model_routes.responding import send_json, send_reply, sent_at_once
from llm_gateway.http.types import Message
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.asgi import FakeExchange, Wire


class Stream(ByteStream):
    """Returns `pieces`, or raises those that are errors; `relayed` goes to the sink first, if there is one."""

    def __init__(self, *pieces: bytes | Exception, relayed: tuple[bytes, ...] = ()) -> None:
        self.headers: Headers = ((b"x-own", b"1"),)
        self.failures: list[tuple[str | None, bool]] = []
        self.closed = 0
        self._pieces = list(pieces)
        self._relayed = relayed

    async def next(self) -> tuple[bytes, bool]:
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece, not self._pieces

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        for piece in self._relayed:
            sink(piece)

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        self.failures.append((error.code, begun))
        return b"broken" if begun else b""

    def close(self) -> None:
        self.closed += 1


def whole() -> WholeReply:
    reply = WholeReply(201, b'{"a":1}', b"")
    reply.headers = ((b"x-own", b"1"),)
    return reply


async def test_json_has_its_length_and_the_request_id() -> None:
    wire = Wire()
    await send_json(wire.send, b"{}", "an-id", status=202)
    assert (wire.status, wire.body) == (202, b"{}")
    assert wire.headers == {
        b"content-type": b"application/json",
        b"content-length": b"2",
        b"x-request-id": b"an-id",
    }


async def test_a_whole_reply_has_the_dialects_headers_and_its_own() -> None:
    wire = Wire()
    await send_reply(wire.send, whole(), CHAT, "an-id", None)
    assert (wire.status, wire.body, wire.complete) == (201, b'{"a":1}', True)
    assert wire.headers == {
        b"content-type": b"application/json",
        b"content-length": b"7",
        b"x-request-id": b"an-id",
        b"x-own": b"1",
    }


async def test_the_server_sends_a_whole_reply_at_once() -> None:
    exchange = FakeExchange(sends_at_once=True)
    assert sent_at_once(exchange, exchange.send, whole(), CHAT, "an-id")
    headers = ((b"content-type", b"application/json"), (b"x-request-id", b"an-id"), (b"x-own", b"1"))
    assert exchange.responses == [(201, headers, b'{"a":1}')]
    assert exchange.messages == []


async def test_nothing_is_sent_at_once_around_a_middleware_or_against_the_server() -> None:
    exchange = FakeExchange(sends_at_once=True)
    assert not sent_at_once(exchange, Wire().send, whole(), CHAT, "an-id")
    assert exchange.responses == []
    busy = FakeExchange()
    assert not sent_at_once(busy, busy.send, whole(), CHAT, "an-id")
    assert not sent_at_once(None, busy.send, whole(), CHAT, "an-id")


async def test_a_stream_is_sent_piece_by_piece_and_closed() -> None:
    wire, stream = Wire(), Stream(b"one", b"", b"end")
    await send_reply(wire.send, stream, CHAT, "an-id", None)
    assert [message["body"] for message in wire.messages[1:]] == [b"one", b"", b"end"]
    assert [message["more_body"] for message in wire.messages[1:]] == [True, True, False]
    assert wire.headers == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
        b"x-request-id": b"an-id",
        b"x-own": b"1",
    }
    assert stream.closed == 1


async def test_pieces_are_relayed_directly_unless_a_middleware_wraps_send() -> None:
    exchange = FakeExchange(sends_at_once=True)
    await send_reply(exchange.send, Stream(b"one", b"end", relayed=(b"a", b"b")), CHAT, "an-id", exchange)
    assert exchange.pieces == [b"a", b"b"]
    assert [message["body"] for message in exchange.messages[1:]] == [b"one", b"end"]
    wire = Wire()
    await send_reply(wire.send, Stream(b"one", b"end", relayed=(b"a",)), CHAT, "an-id", exchange)
    assert exchange.pieces == [b"a", b"b"]
    assert wire.body == b"oneend"


async def test_without_a_sink_nothing_is_relayed() -> None:
    exchange = FakeExchange()
    await send_reply(exchange.send, Stream(b"one", b"end", relayed=(b"a",)), CHAT, "an-id", exchange)
    assert exchange.pieces == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [(RuntimeError("sk-secret"), "internal_error"), (UpstreamFailed("no"), "upstream_error")],
)
async def test_a_fault_before_the_response_is_raised_as_the_clients_error(
    fault: Exception, code: str
) -> None:
    wire, stream = Wire(), Stream(fault)
    with pytest.raises(GatewayError) as caught:
        await send_reply(wire.send, stream, CHAT, "an-id", None)
    assert caught.value.code == code
    assert stream.failures == [(code, False)]
    assert wire.messages == []
    assert stream.closed == 1


async def test_a_fault_within_the_response_ends_the_stream_visibly() -> None:
    wire, stream = Wire(), Stream(b"one", RuntimeError("a bug"))
    await send_reply(wire.send, stream, CHAT, "an-id", None)
    assert stream.failures == [("internal_error", True)]
    assert (wire.body, wire.complete) == (b"onebroken", True)
    assert stream.closed == 1


async def test_a_stream_is_closed_when_sending_fails() -> None:
    stream = Stream(b"one", b"end")

    async def send(message: Message) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await send_reply(send, stream, CHAT, "an-id", None)
    assert stream.closed == 1
