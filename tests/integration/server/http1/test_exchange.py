"""An exchange answers its request once, notices a disconnect, and frames every response correctly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llm_gateway.server.http1.exchange import EXTENSION
from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo, read_body, reply


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


async def test_expect_100_continue_asks_for_the_body_when_it_is_wanted() -> None:
    async with served(echo) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        client.send(b"hi")
        assert (await client.answer()).body == b"POST /v1/x hi"
        client.close()


async def test_an_answer_without_the_body_that_waits_for_100_ends_the_connection() -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"no", 401)

    async with served(refuses, linger=0.05) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await client.rest() == b""


async def test_head_has_the_headers_and_no_body() -> None:
    async with served(echo) as server:
        client = await server.connect()
        client.send(b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer(to_head=True)
        assert answer.headers["content-length"] == "8"
        client.send(GET)
        assert (await client.answer()).body == b"GET / "
        client.close()


async def test_a_stream_is_chunked_for_http_1_1_and_ends_with_the_connection_for_1_0() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one ", b"two ", b""):
            await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})

    async with served(stream) as server:
        answer = await server.ask(GET)
        assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"one two ")
        client = await server.connect()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\nconnection: close\r\n\r\none two ")


async def test_an_application_that_fails_or_says_nothing_is_a_500() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/raise":
            raise ValueError("a fault")
        if scope["path"] == "/start":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async with served(fails) as server:
        for path in (b"/raise", b"/silent", b"/start"):
            answer = await server.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert (answer.status, answer.error["type"]) == (500, "server_error")
            assert answer.headers["x-request-id"] == "the-request-id"


async def test_a_stream_that_fails_is_cut() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        raise ValueError("a fault")

    async with served(fails) as server:
        client = await server.connect()
        client.send(GET)
        assert (await client.rest()).endswith(b"\r\n3\r\nabc\r\n")
        old = await server.connect()
        old.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await old.rest()


async def test_a_body_that_is_not_as_long_as_declared_is_no_response() -> None:
    async def lies(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"abc"})

    async with served(lies) as server:
        assert (await server.ask(GET)).status == 500


async def test_two_readers_of_one_request_both_wake() -> None:
    """Frameworks read the body in one task and wait for the client's leaving in another."""
    seen: list[Any] = []

    async def watches(scope: Scope, receive: Receive, send: Send) -> None:
        assert await read_body(receive) == b""
        watcher = asyncio.ensure_future(receive())
        other = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await reply(send)
        seen.extend([await watcher, await other])

    async with served(watches) as server:
        assert (await server.ask(GET)).status == 200
        await asyncio.sleep(0.01)
        assert seen == [{"type": "http.disconnect"}] * 2
