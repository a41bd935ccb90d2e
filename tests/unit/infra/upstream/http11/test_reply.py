"""The body of one reply, over a connection whose bytes a test feeds by hand."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any, cast

import pytest

from llm_gateway.flow.ports.upstream import OversizedReply, TransportError
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.reply import PooledReply, pooled_reply
from tests.fakes.transports import Clockwork, ConnectionOwner, Notes

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class ReplyBench:
    """A reply whose head, and as much more as `data` holds, has arrived."""

    def __init__(self, data: bytes) -> None:
        self.loop, self.notes, self.owner = Clockwork(), Notes(), ConnectionOwner()
        self.connection = Connection(cast("Any", self.loop), self.owner)
        self.connection.connection_made(cast("Any", self.notes))
        self.connection.begin(b"head", b"body")
        self.connection.data_received(data)
        self.reply = self.opened()

    def opened(self) -> PooledReply:
        return pooled_reply(self.connection, cast("Any", self.loop))


async def test_headers_are_found_by_lower_case_name() -> None:
    reply = ReplyBench(OK + b"Retry-After: 7\r\ncontent-length: 0\r\n\r\n").reply
    assert (reply.status, reply.header("retry-after"), reply.header("x-other")) == (200, "7", None)


async def test_read_gives_what_arrived_and_then_the_end() -> None:
    bench = ReplyBench(OK + b"content-length: 5\r\n\r\nhe")
    assert await bench.reply.read(1) == b"he"
    reading = asyncio.ensure_future(bench.reply.read(1))
    await asyncio.sleep(0)
    bench.connection.data_received(b"llo")
    assert (await reading, await bench.reply.read(1)) == (b"llo", b"")


async def test_a_read_ends_after_its_timeout() -> None:
    bench = ReplyBench(CHUNKED)
    reading = asyncio.ensure_future(bench.reply.read(2))
    await asyncio.sleep(0)
    bench.loop.go_on(2)
    with pytest.raises(TransportError, match="stopped sending") as caught:
        await reading
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    "data",
    [
        OK + b"content-length: 6\r\n\r\n",
        CHUNKED + b"6\r\nhello!\r\n0\r\n\r\n",
        CHUNKED + b"6\r\nhello!\r\n",
    ],
    ids=["announced", "complete", "begun"],
)
async def test_a_body_over_the_limit_is_refused(data: bytes) -> None:
    with pytest.raises(OversizedReply, match="too large") as caught:
        await ReplyBench(data).reply.read_all(5, 1)
    assert caught.value.kind == "protocol"


async def test_a_reply_that_cannot_be_decoded_gives_its_connection_up() -> None:
    bench = ReplyBench(OK + b"content-length: 0\r\n\r\n")
    bench.connection.begin(b"head", b"body")
    bench.connection.data_received(OK + b"content-encoding: br\r\ncontent-length: 0\r\n\r\n")
    assert not bench.connection.ended
    with pytest.raises(TransportError):
        bench.opened()
    assert bench.connection.ended


async def test_a_body_at_the_limit_is_read() -> None:
    assert await ReplyBench(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n").reply.read_all(5, 1) == b"hello"


async def test_the_limit_is_for_the_decoded_body() -> None:
    coded = gzip.compress(bytes(10_000))
    data = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(coded), coded)
    assert await ReplyBench(data).reply.read_all(10_000, 1) == bytes(10_000)
    with pytest.raises(TransportError, match="too large"):
        await ReplyBench(data).reply.read_all(9_999, 1)


async def test_an_unknown_content_coding_is_a_protocol_error() -> None:
    with pytest.raises(TransportError, match="content coding") as caught:
        ReplyBench(OK + b"content-encoding: br\r\ncontent-length: 0\r\n\r\n")
    assert caught.value.kind == "protocol"


async def test_relay_hands_pieces_over_until_the_taker_wants_no_more() -> None:
    bench, taken = ReplyBench(CHUNKED + b"3\r\none\r\n"), list[bytes]()

    def take(data: bytes) -> bool:
        taken.append(data)
        return len(taken) < 2

    relaying = asyncio.ensure_future(bench.reply.relay(take, 5))
    await asyncio.sleep(0)
    bench.connection.data_received(b"3\r\ntwo\r\n")
    await relaying
    bench.connection.data_received(b"5\r\nthree\r\n")
    assert taken == [b"one", b"two"]
    assert await bench.reply.read(1) == b"three"


async def test_relay_leaves_a_coded_body_to_read() -> None:
    coded = gzip.compress(b"hello")
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(coded)
    bench, taken = ReplyBench(head + coded), list[bytes]()

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    await bench.reply.relay(take, 5)
    assert (taken, await bench.reply.read(1)) == ([], b"hello")


async def test_a_lost_connection_is_reported_after_the_bytes_that_arrived() -> None:
    bench = ReplyBench(CHUNKED + b"3\r\none\r\n")
    bench.connection.eof_received()
    assert await bench.reply.read(1) == b"one"
    with pytest.raises(TransportError) as caught:
        await bench.reply.read(1)
    assert caught.value.kind == "cut"


async def test_close_returns_a_complete_reply_s_connection_once() -> None:
    bench = ReplyBench(OK + b"content-length: 0\r\n\r\n")
    bench.reply.close()
    bench.reply.close()
    bench.reply.finish()
    assert (bench.owner.kept, bench.notes.aborted) == ([bench.connection], 0)
    with pytest.raises(TransportError, match="closed before"):
        await bench.reply.read(1)


async def test_close_drops_and_finish_waits_for_an_incomplete_reply() -> None:
    closed, finished = ReplyBench(CHUNKED), ReplyBench(CHUNKED)
    closed.reply.close()
    assert (closed.owner.kept, closed.notes.aborted) == ([], 1)
    finished.reply.finish()
    finished.connection.data_received(b"0\r\n\r\n")
    assert finished.owner.kept == [finished.connection]
