"""HTTP/1.1 over real sockets: bodies, pipelining, upgrades and draining."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo, reply


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


async def test_options_works_for_a_path_and_for_everything() -> None:
    async with served(echo) as server:
        assert (await server.ask(b"OPTIONS /v1 HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"OPTIONS /v1 "
        assert (await server.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"OPTIONS * "


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
