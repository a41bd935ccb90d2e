"""Clients that do not read what they asked for: their connections end in time, and those of slow readers do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llm_gateway.server.http1.exchange import EXTENSION
from tests.fakes.served import App, Receive, Scope, Send, Served, served

MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SOON = 0.2
# Bytes that a client with a small buffer takes some seconds for.
SLOW = 300_000


def whole(size: int) -> App:
    """Return an application that sends so many bytes at once."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    return app


class Streaming:
    """An application that streams for ever, by `send` or through the sink, and notes that its client left."""

    def __init__(self, *, through_sink: bool) -> None:
        self.through_sink = through_sink
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        exchange = scope["extensions"][EXTENSION]
        exchange.register(self.left.set)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.left.is_set():
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            if self.through_sink and (sink := exchange.sink()) is not None:
                while sink(bytes(10_000)):
                    pass
            await asyncio.sleep(0)


@asynccontextmanager
async def deaf_client(server: Served, request: bytes) -> AsyncIterator[socket.socket]:
    """Yield a connection that has sent a request and reads nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await loop.sock_sendall(sock, request)
        yield sock


async def _ends(server: Served, within: float = 5.0) -> float:
    """Return the seconds until the server has no connection and no task left."""
    started = time.monotonic()
    async with asyncio.timeout(within):
        while server.state.connections or server.state.tasks:  # noqa: ASYNC110 - a look now and then is enough
            await asyncio.sleep(0.01)
    return time.monotonic() - started


@pytest.mark.parametrize(
    "request_", [GET, GET * 40, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
)
async def test_a_whole_reply_that_nobody_reads(request_: bytes) -> None:
    async with served(whole(16 * MIB), send_timeout=SOON) as server, deaf_client(server, request_):
        await asyncio.sleep(0.05)
        assert server.state.connections
        assert await _ends(server) < 2.0


@pytest.mark.parametrize("through_sink", [False, True])
async def test_a_stream_that_nobody_reads_tells_the_application_that_its_client_left(
    through_sink: bool,
) -> None:
    app = Streaming(through_sink=through_sink)
    async with served(app, send_timeout=SOON) as server, deaf_client(server, GET):
        async with asyncio.timeout(5.0):
            await app.left.wait()
        assert await _ends(server) < 2.0


@pytest.mark.parametrize(
    "request_",
    [GET, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
async def test_the_rest_of_a_reply_that_is_too_small_to_pause_its_sender(request_: bytes) -> None:
    async with served(whole(60_000), send_timeout=SOON, keep_alive=SOON) as server:
        server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with deaf_client(server, request_):
            await asyncio.sleep(0.05)
            assert server.state.connections
            assert await _ends(server) < 2.0


async def test_rejections_that_nobody_reads() -> None:
    """Many pipelined requests, each of which is answered with an error."""
    async with served(whole(1), send_timeout=SOON, linger=SOON, pipeline=4) as server:
        server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with deaf_client(server, b"NONSENSE\r\n\r\n" * 3):
            assert await _ends(server) < 2.0


async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    async with served(whole(SLOW), send_timeout=SOON) as server:
        server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        async with deaf_client(server, GET) as sock:
            loop = asyncio.get_running_loop()
            size = 0
            started = time.monotonic()
            while size < SLOW:
                size += len(await loop.sock_recv(sock, 64 * 1024))
                await asyncio.sleep(0.02)
            # Far longer than the timeout.
            assert time.monotonic() - started > 3 * SOON
            assert server.state.connections


async def test_a_client_that_pauses_for_less_than_the_timeout_gets_all_of_it() -> None:
    async with served(whole(8 * MIB), send_timeout=1.0) as server, deaf_client(server, GET) as sock:
        loop = asyncio.get_running_loop()
        size = 0
        for _ in range(3):
            await asyncio.sleep(0.4)
            for _ in range(10):
                size += len(await loop.sock_recv(sock, 64 * 1024))
        while size < 8 * MIB:
            size += len(await loop.sock_recv(sock, MIB))


async def test_a_connection_that_was_slow_once_is_kept() -> None:
    async with served(whole(8 * MIB), send_timeout=SOON) as server, deaf_client(server, GET) as sock:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await asyncio.sleep(SOON / 2)
            size = 0
            while size < 8 * MIB:
                size += len(await loop.sock_recv(sock, MIB))
            await asyncio.sleep(2 * SOON)
            assert server.state.connections
            with contextlib.suppress(BlockingIOError):
                sock.recv(MIB)
            await loop.sock_sendall(sock, GET)
