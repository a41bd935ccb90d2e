"""Connections that are late, and clients that leave."""

from __future__ import annotations

import asyncio

import pytest

from llm_gateway.server.http1.exchange import EXTENSION
from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo


async def test_a_silent_connection_is_closed() -> None:
    async with served(echo, head_timeout=0.05) as server:
        client = await server.connect()
        assert await client.rest() == b""


async def test_blank_lines_do_not_count_as_speaking() -> None:
    async with served(echo, head_timeout=0.05) as server:
        client = await server.connect()
        client.send(b"\r\n\r\n")
        assert await client.rest() == b""


async def test_a_head_that_trickles_gets_408() -> None:
    async with served(echo, head_timeout=0.1) as server:
        client = await server.connect()

        async def trickle() -> None:
            for byte in GET * 100:
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.ensure_future(trickle())
        # It takes a quarter of a second to arrive.
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        trickling.cancel()
        client.close()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    app = Recorder()
    async with served(app, keep_alive=0.05, head_timeout=0.05) as server:
        client = await server.connect()
        client.send(GET)
        # Longer than either deadline; half a head that waits behind it has its own.
        client.send(GET[:10])
        await asyncio.sleep(0.15)
        app.go.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 408
        idle = await server.connect()
        idle.send(GET)
        await idle.answer()
        assert await idle.rest() == b""


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
async def test_the_disconnect_hook_fires_once(way: str) -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(GET)
        await app.begun.wait()
        getattr(client, way)()
        async with asyncio.timeout(10):
            await app.left.wait()
        app.go.set()
        await asyncio.sleep(0.02)
        assert app.disconnects == 1
        assert not server.state.tasks
        # Who comes too late is told at once.
        app.scopes[0]["extensions"][EXTENSION].register(app._on_disconnect)
        assert app.disconnects == 2


async def test_the_disconnect_hook_is_silent_after_the_response() -> None:
    app = Recorder()
    app.go.set()
    async with served(app) as server:
        client = await server.connect()
        client.send(GET)
        await client.answer()
        client.close()
        await asyncio.sleep(0.02)
        assert (app.disconnects, len(server.state.connections)) == (0, 0)


async def test_an_unregistered_hook_is_not_called() -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(GET)
        await app.begun.wait()
        app.scopes[0]["extensions"][EXTENSION].unregister()
        client.close()
        await asyncio.sleep(0.02)
        assert app.disconnects == 0


async def test_a_client_that_leaves_is_noticed_though_its_body_filled_the_buffer() -> None:
    app = Recorder()
    body = b"x" * 300_000
    async with served(app) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(10):
            await app.read.wait()
            client.close()
            await app.left.wait()
        assert app.bodies == [body]


async def test_every_pipelined_request_learns_that_the_client_left() -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(GET * 3)
        await app.begun.wait()
        await asyncio.sleep(0.02)
        client.reset()
        await app.left.wait()
        app.go.set()
        await asyncio.sleep(0.02)
        assert (len(app.scopes), app.disconnects, len(server.state.tasks)) == (1, 1, 0)


async def test_a_cancelled_application_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    cancelled = asyncio.Event()

    async def cancels_itself(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        scope["extensions"][EXTENSION].register(task.cancel)
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async with served(cancels_itself) as server:
        client = await server.connect()
        client.send(GET)
        await asyncio.sleep(0.02)
        client.close()
        async with asyncio.timeout(10):
            await cancelled.wait()
        await asyncio.sleep(0.01)
    assert caplog.records == []


async def test_a_sink_says_when_the_client_is_slow_and_when_it_is_gone() -> None:
    """Pieces go out at once until the client reads no more; nothing is lost, and a client that left is told."""
    piece = b"x" * 100_000
    went_slow, gone = asyncio.Event(), asyncio.Event()
    sent = 0

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        exchange = scope["extensions"][EXTENSION]
        exchange.register(gone.set)
        assert exchange.sink() is None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert exchange.sink() is None
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sink = exchange.sink()
        sent = 2
        while sink(piece):
            sent += 1
        assert exchange.sink() is None
        went_slow.set()
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sent += 1
        sink = exchange.sink()
        await gone.wait()
        assert sink(piece) is False
        assert exchange.sink() is None

    async with served(streams) as server:
        client = await server.connect()
        client.send(GET)
        await went_slow.wait()
        assert (await client.answer(to_head=True)).headers["transfer-encoding"] == "chunked"
        expected = b"%x\r\n%b\r\n" % (len(piece), piece)
        for _ in range(sent):
            assert await client.reader.readexactly(len(expected)) == expected
        client.close()
        await gone.wait()


async def test_http_1_0_has_no_sink() -> None:
    seen: list[object] = []

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        seen.append(scope["extensions"][EXTENSION].sink())
        await send({"type": "http.response.body", "body": b"b"})

    async with served(streams) as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).body == b"ab"
    assert seen == [None]
