"""The pool of connections to one server, whose connections are opened by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.origin import Origin
from tests.fakes.transports import Clockwork, Notes

OK = b"HTTP/1.1 200 OK\r\n"


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


async def test_every_idle_connection_is_announced() -> None:
    server = OriginBench(max_idle=1)
    server.open()
    assert server.idle_calls == 1
    # There is no room for a second one, so nothing has become idle.
    server.open()
    assert server.idle_calls == 1


async def test_a_connection_opened_for_an_origin_that_closes_is_aborted_and_none_is_dialled() -> None:
    server = OriginBench()
    server.origin.close()
    with pytest.raises(TransportError, match="shutting down") as caught:
        await server.origin.connect(server.loop.now + 10)
    assert caught.value.kind == "connect"
    assert server.origin.unused


async def test_a_closed_origin_takes_no_connection_back() -> None:
    server = OriginBench()
    connection = server.open()
    assert server.origin.take() is connection
    server.origin.close()
    assert not server.origin.put_idle(connection)
    assert server.idle_calls == 1


async def test_a_connection_with_unread_input_is_not_used() -> None:
    server = OriginBench()
    good, bad = server.open(), server.open()
    bad.poll = lambda _timeout: [(3, 1)]
    assert server.origin.take() is good
    assert bad.ended


async def test_over_tls_unread_input_may_be_a_session_ticket_so_the_connection_stays_idle() -> None:
    server = OriginBench()
    first, second, third = (server.open() for _ in range(3))
    unread = [(3, 1)]
    for connection in (second, third):
        connection.is_tls = True
        connection.poll = lambda _timeout: list(unread)
    assert server.origin.take() is first
    assert server.origin.take() is None
    # The event loop has read the tickets.
    unread.clear()
    assert server.origin.take() is third
    assert server.origin.take() is second
