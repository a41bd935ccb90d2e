"""One connection and the pool of one origin, over a transport that records its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import READ_AHEAD, SLICE, Connection
from llm_gateway.infra.upstream.http11.origin import Origin
from tests.fakes.transports import ConnectionOwner, Notes

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"


class Alarm:
    """What `call_at` gives."""

    def __init__(self, loop: Clockwork, when: float, ring: Callable[[], None]) -> None:
        self.loop, self.when, self.ring = loop, when, ring

    def cancel(self) -> None:
        self.loop.alarms.remove(self)


class Clockwork:
    """As much of an event loop as a connection needs; its time goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[Alarm] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Alarm:
        self.set += 1
        self.alarms.append(Alarm(self, when, ring))
        return self.alarms[-1]

    def create_future(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [each for each in self.alarms if each.when <= self.now]:
            alarm.cancel()
            alarm.ring()


class ConnectionBench:
    """A connection and everything around it."""

    def __init__(self) -> None:
        self.loop, self.notes, self.owner = Clockwork(), Notes(), ConnectionOwner()
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


# --- the connections of one origin ---


class OriginBench:
    """An Origin whose connections are opened by hand."""

    def __init__(self, **options: Any) -> None:
        self.loop = Clockwork()
        self.idle_calls = 0
        dialer = Dialer(connect_timeout=1.0, allow_private=True, ssl_context=None)
        self.origin = Origin(
            ServerAddress("http", "a", 80),
            dialer=dialer,
            loop=cast("Any", self.loop),
            on_idle=self._idle,
            **{"idle_seconds": 30.0, "max_idle": 3, **options},
        )

    def _idle(self) -> None:
        self.idle_calls += 1

    def open(self, headers: bytes = b"") -> Connection:
        """Return a connection that has had an exchange and was given back."""
        connection = Connection(cast("Any", self.loop), self.origin)
        connection.connection_made(cast("Any", Notes()))
        self.exchange(connection, headers)
        return connection

    def exchange(self, connection: Connection, headers: bytes = b"") -> None:
        connection.begin(b"", b"")
        connection.data_received(OK + headers + b"content-length: 0\r\n\r\n")
        connection.release()


async def test_the_connection_used_last_is_used_next() -> None:
    server = OriginBench()
    one, two, three = (server.open() for _ in range(3))
    assert server.origin.take() is three
    assert server.origin.take() is two
    server.exchange(three)
    assert server.origin.take() is three
    assert server.origin.take() is one
    assert server.origin.take() is None


async def test_no_more_are_kept_than_allowed() -> None:
    server = OriginBench()
    connections = [server.open() for _ in range(5)]
    assert [connection.ended for connection in connections] == [False] * 3 + [True] * 2


async def test_a_connection_is_idle_for_so_long_and_no_longer() -> None:
    server = OriginBench()
    old = server.open()
    server.loop.now += 20
    new = server.open()
    assert server.origin.sweep()
    server.loop.now += 10
    assert server.origin.sweep()
    assert (old.ended, new.ended) == (True, False)
    server.loop.now += 25
    # Too old, though no sweep has come by.
    assert server.origin.take() is None
    assert new.ended
    assert not server.origin.sweep()


@pytest.mark.parametrize(
    ("told", "idle"), [(b"timeout=5", 4.0), (b"max=100, timeout=61", 30.0), (b"x", 30.0)]
)
async def test_a_server_says_how_long_it_waits(told: bytes, idle: float) -> None:
    server = OriginBench()
    connection = server.open(b"Keep-Alive: " + told + b"\r\n")
    assert connection.idle_until == server.loop.now + idle


async def test_a_server_that_hardly_waits_gets_no_second_request() -> None:
    assert OriginBench().open(b"Keep-Alive: timeout=1\r\n").ended


async def test_dead_connections_are_forgotten() -> None:
    server = OriginBench()
    one, two = server.open(), server.open()
    two.eof_received()
    assert server.origin.take() is one
    assert server.origin.take() is None
    for connection in (one, two):
        connection.connection_lost(None)
    assert server.origin.unused


async def test_a_closed_site_keeps_and_opens_nothing() -> None:
    server = OriginBench()
    idle, busy = server.open(), server.open()
    assert server.origin.take() is busy
    busy.begin(b"", b"")
    server.origin.close()
    assert (idle.ended, busy.ended) == (True, True)
    late = Connection(cast("Any", server.loop), server.origin)
    late.connection_made(cast("Any", Notes()))
    assert late.ended
