"""What HTTP/1.1 clients may rely on, over real sockets, whatever the application does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo, read_body, reply


async def test_a_body_arrives_whole_and_the_connection_stays() -> None:
    async with served(echo) as server:
        client = await server.connect()
        for number in range(3):
            client.send(POST + b"Content-Length: 3\r\n\r\nab%d" % number)
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"POST /v1/x ab%d" % number)
        client.close()


async def test_a_large_body_in_any_pieces_arrives_whole() -> None:
    body = bytes(range(256)) * 4096
    async with served(echo) as server:
        client = await server.connect()
        request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for start in range(0, len(request), 70_001):
            client.send(request[start : start + 70_001])
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"POST /v1/x " + body
        client.close()


async def test_a_chunked_body_arrives_whole_and_its_trailers_are_no_headers() -> None:
    app = Recorder()
    app.go.set()
    async with served(app) as server:
        answer = await server.ask(
            POST + b"Transfer-Encoding: chunked\r\n\r\n"
            b"3;note=1\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Bearer late\r\n\r\n"
        )
        assert answer.status == 200
        assert app.bodies == [b"abcde"]
        assert [name for name, _ in app.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/0":
            await asyncio.sleep(0.02)
        await reply(send, scope["path"].encode())

    async with served(slow_first) as server:
        client = await server.connect()
        # More than are read at once.
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(40)))
        assert [(await client.answer()).body for _ in range(40)] == [b"/%d" % number for number in range(40)]
        client.close()


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


async def test_options_works_for_a_path_and_for_everything() -> None:
    async with served(echo) as server:
        assert (await server.ask(b"OPTIONS /v1 HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"OPTIONS /v1 "
        assert (await server.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"OPTIONS * "


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


async def test_the_scope_has_the_decoded_path_the_query_and_the_client() -> None:
    app = Recorder()
    app.go.set()
    async with served(app) as server:
        await server.ask(b"GET /a%20b/%C3%A9?x=%41 HTTP/1.1\r\nHost: a\r\nX-Y: \xe9\r\n\r\n")
        scope = app.scopes[0]
        assert (scope["path"], scope["raw_path"]) == ("/a b/é", b"/a%20b/%C3%A9")
        assert scope["query_string"] == b"x=%41"
        assert (b"x-y", b"\xe9") in scope["headers"]
        assert scope["client"][0] == "127.0.0.1"


@pytest.mark.parametrize("target", [b"http://A:1/v1/x", b"HTTP://a:1/v1/x"])
async def test_an_absolute_target_that_is_ours_is_a_path(target: bytes) -> None:
    async with served(echo) as server:
        answer = await server.ask(b"GET %b?q HTTP/1.1\r\nHost: a:1\r\n\r\n" % target)
        assert answer.body == b"GET /v1/x?q "
        assert (await server.ask(b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"GET / "


@pytest.mark.parametrize("split", [0, 1, 40, -3, -1])
async def test_an_upgrade_is_ignored_and_its_body_kept(split: int) -> None:
    """What Java's HTTP client sends to every plain-text server."""
    request = (
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 3\r\nHTTP2-Settings: AAE\r\n"
        b"Upgrade: h2c\r\n\r\nabc"
    )
    async with served(echo) as server:
        client = await server.connect()
        client.send(request[:split])
        await asyncio.sleep(0.01)
        client.send(request[split:] + request)
        assert (await client.answer()).body == b"POST /v1/x abc"
        assert (await client.answer()).body == b"POST /v1/x abc"
        client.close()


async def test_a_websocket_is_refused_by_an_ordinary_answer() -> None:
    async with served(echo) as server:
        answer = await server.ask(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (answer.status, answer.body) == (200, b"GET /ws ")
        assert "upgrade" not in answer.headers


async def test_draining_closes_each_connection_after_its_response() -> None:
    async with served(echo) as server:
        server.state.draining = True
        client = await server.connect()
        client.send(GET)
        answer = await client.answer()
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""


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


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b"a"), (b"x", b"a\0")])
async def test_a_response_header_cannot_make_another(header: tuple[bytes, bytes]) -> None:
    async def splits(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok", 200, header)

    async with served(splits) as server:
        answer = await server.ask(GET)
        assert answer.status == 500
        assert "b" not in answer.headers


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
