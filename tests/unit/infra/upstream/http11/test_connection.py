"""One connection over a transport that records its calls."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from llm_gateway.infra.upstream.http11.connection import READ_AHEAD, SLICE, Connection
from llm_gateway.sockets.write_batch import WriteBatch
from tests.fakes.transports import Clockwork, ConnectionOwner, Notes

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"


class ConnectionBench:
    """A connection and everything around it."""

    def __init__(self, batch: WriteBatch | None = None) -> None:
        self.loop, self.notes, self.owner = Clockwork(), Notes(), ConnectionOwner()
        self.owner.batch = batch
        self.connection = Connection(cast("Any", self.loop), self.owner)
        self.connection.connection_made(cast("Any", self.notes))


@pytest.fixture
def bench() -> ConnectionBench:
    return ConnectionBench()


def _chunks(count: int, size: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for _ in range(count))


async def test_an_exchange_gives_the_connection_back(bench: ConnectionBench) -> None:
    for number in range(3):
        bench.connection.begin(b"head", b"body")
        assert bench.notes.written.pop() == b"headbody"
        waiting = bench.connection.wait(bench.loop.now + 600)
        bench.connection.data_received(HELLO)
        assert await waiting
        assert (bench.connection.parser.status, bench.connection.take()) == (200, b"hello")
        bench.connection.release()
        assert len(bench.owner.kept) == number + 1
    assert bench.notes.aborted == 0


async def test_a_deadline_of_every_request_is_one_alarm_for_all(bench: ConnectionBench) -> None:
    for _ in range(100):
        bench.connection.begin(b"head", b"body")
        waiting = bench.connection.wait(bench.loop.now + 600)
        bench.connection.data_received(HELLO)
        assert await waiting
        bench.connection.release()
        bench.loop.go_on(1.0)
    assert bench.loop.set == 1
    # It rings for nobody, and is not set again.
    bench.loop.go_on(600.0)
    assert (bench.loop.set, bench.loop.alarms, bench.notes.aborted) == (1, [], 0)


async def test_an_alarm_that_comes_too_early_is_set_again(bench: ConnectionBench) -> None:
    bench.connection.begin(b"", b"")
    first = bench.connection.wait(bench.loop.now + 10)
    bench.connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n")
    assert await first
    bench.loop.go_on(8.0)
    second = bench.connection.wait(bench.loop.now + 10)
    bench.loop.go_on(3.0)
    assert not second.done()
    bench.loop.go_on(6.9)
    assert not second.done()
    bench.loop.go_on(0.2)
    assert await second is False
    assert bench.loop.set == 2


async def test_a_shorter_deadline_is_kept_too(bench: ConnectionBench) -> None:
    bench.connection.begin(b"", b"")
    bench.connection.wait(bench.loop.now + 600).cancel()
    waiting = bench.connection.wait(bench.loop.now + 2)
    assert len(bench.loop.alarms) == 1
    bench.loop.go_on(2.0)
    assert await waiting is False


async def test_a_reader_that_does_not_read_stops_the_socket(bench: ConnectionBench) -> None:
    bench.connection.begin(b"", b"")
    bench.connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n")
    received = 0
    for _ in range(100):
        if not bench.notes.reading:
            break
        bench.connection.data_received(_chunks(10, 1000))
        received += 10_000
    assert received <= READ_AHEAD + 10_000
    assert len(bench.connection.take()) == received
    assert bench.notes.reading


async def test_a_large_body_goes_out_as_fast_as_it_is_taken(bench: ConnectionBench) -> None:
    body = b"x" * (5 * SLICE + 1)
    bench.notes.full = bench.connection.pause_writing
    bench.connection.begin(b"head", body)
    sending = asyncio.ensure_future(bench.connection.upload(body, bench.loop.now + 10))
    for taken in range(6):
        await asyncio.sleep(0)
        assert sum(map(len, bench.notes.written)) == 4 + taken * SLICE
        bench.connection.resume_writing()
        await asyncio.sleep(0)
    assert await sending
    assert bench.connection.sent
    assert b"".join(bench.notes.written) == b"head" + body


async def test_a_large_body_that_is_not_taken_ends_in_time(bench: ConnectionBench) -> None:
    body = b"x" * (2 * SLICE)
    bench.connection.begin(b"head", body)
    bench.connection.pause_writing()
    sending = asyncio.ensure_future(bench.connection.upload(body, bench.loop.now + 10))
    await asyncio.sleep(0)
    bench.loop.go_on(10.0)
    assert await sending is False


async def test_a_refused_body_is_sent_no_further_and_the_connection_is_not_kept(
    bench: ConnectionBench,
) -> None:
    body = b"x" * (2 * SLICE)
    bench.connection.begin(b"head", body)
    bench.connection.pause_writing()
    sending = asyncio.ensure_future(bench.connection.upload(body, bench.loop.now + 10))
    await asyncio.sleep(0)
    bench.connection.data_received(HELLO.replace(b"200", b"413"))
    assert await sending
    assert not bench.connection.sent
    assert bench.connection.parser.complete
    bench.connection.release()
    assert (bench.owner.kept, bench.notes.aborted) == ([], 1)


async def test_an_early_good_reply_does_not_stop_the_body(bench: ConnectionBench) -> None:
    body = b"x" * (2 * SLICE)
    bench.connection.begin(b"head", body)
    bench.connection.pause_writing()
    sending = asyncio.ensure_future(bench.connection.upload(body, bench.loop.now + 10))
    await asyncio.sleep(0)
    bench.connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(0)
    assert not sending.done()
    bench.connection.resume_writing()
    assert await sending
    assert b"".join(bench.notes.written) == b"head" + body


async def test_bytes_nobody_asked_for_end_the_connection(bench: ConnectionBench) -> None:
    bench.connection.data_received(HELLO)
    assert bench.connection.ended
    assert bench.notes.aborted == 1


async def test_a_full_pool_lets_a_connection_go(bench: ConnectionBench) -> None:
    bench.owner.room = False
    bench.connection.begin(b"", b"")
    bench.connection.data_received(HELLO)
    bench.connection.release()
    assert bench.notes.aborted == 1


async def test_the_end_of_a_discarded_body_is_waited_for_without_anyone_waiting(
    bench: ConnectionBench,
) -> None:
    bench.connection.begin(b"", b"")
    bench.connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n" + _chunks(1, 5))
    bench.connection.finish(0.5)
    bench.connection.data_received(_chunks(2, 5))
    assert (bench.connection.parser.pieces, bench.owner.kept) == ([], [])
    bench.connection.data_received(b"0\r\n\r\n")
    assert bench.owner.kept == [bench.connection]
    bench.loop.go_on(1.0)
    assert bench.notes.aborted == 0


@pytest.mark.parametrize("late", [True, False])
async def test_a_discarded_body_that_does_not_end_is_dropped(bench: ConnectionBench, late: bool) -> None:
    bench.connection.begin(b"", b"")
    bench.connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n")
    bench.connection.finish(0.5)
    if late:
        bench.loop.go_on(0.5)
    else:
        for _ in range(40):
            bench.connection.data_received(_chunks(10, 1000))
    assert bench.notes.aborted >= 1
    assert bench.owner.kept == []
    assert bench.loop.alarms == []


async def test_a_lost_connection_wakes_its_reader_and_leaves_no_alarm(bench: ConnectionBench) -> None:
    bench.connection.begin(b"", b"")
    waiting = bench.connection.wait(bench.loop.now + 10)
    bench.connection.connection_lost(ConnectionResetError())
    assert await waiting
    assert bench.connection.error is not None
    assert bench.connection.error.kind == "cut"
    assert bench.loop.alarms == []


async def test_what_comes_before_the_request_was_sent_is_no_reply_to_it() -> None:
    bench = ConnectionBench(WriteBatch())
    connection = bench.connection
    connection.begin(b"head", b"body")
    waiting = connection.wait(bench.loop.now + 600)
    connection.data_received(HELLO)
    assert (bench.notes.aborted, connection.parser.status, connection.reply_begun) == (1, 0, False)
    connection.connection_lost(None)
    assert await waiting
    assert connection.error is not None
    assert connection.error.kind == "cut"


async def test_a_request_of_a_batch_is_sent_at_the_end_of_the_turn() -> None:
    bench = ConnectionBench(WriteBatch())
    connection = bench.connection
    for body in (b"body", b"x" * SLICE):
        connection.begin(b"head", body)
        assert bench.notes.written == []
        await asyncio.sleep(0)
        assert b"".join(bench.notes.written) == b"head" + body
        bench.notes.written.clear()
        connection.data_received(HELLO)
        assert connection.take() == b"hello"
        connection.release()
    assert len(bench.owner.kept) == 2


async def test_the_last_slice_of_an_upload_does_not_wait() -> None:
    bench = ConnectionBench(WriteBatch())
    connection, body = bench.connection, b"x" * (SLICE + 1000)
    connection.begin(b"head", body)
    assert await connection.upload(body, bench.loop.now + 600)
    # Now the transport knows whether the peer had room for it.
    assert b"".join(bench.notes.written) == b"head" + body
