"""Rejections reach the client in turn, whatever it still sends."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo, reply


async def test_noise_behind_a_request_waits_for_its_turn() -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(GET + b"noise\r\n\r\n")
        await app.begun.wait()
        app.go.set()
        assert (await client.answer()).body == b"ok"
        assert (await client.answer()).error["code"] == "malformed_request"
        assert await client.rest() == b""
        assert app.disconnects == 0


async def test_too_many_pipelined_requests_are_refused_in_their_turn() -> None:
    async with served(echo, pipeline=3, pipeline_pause=2) as server:
        client = await server.connect()
        client.send(GET * 9)
        assert [(await client.answer()).status for _ in range(5)] == [200, 200, 200, 200, 400]
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
async def test_a_body_cut_by_a_half_close_gets_400(framing: bytes) -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(POST + framing)
        client.half_close()
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, "incomplete_body")
        assert await client.rest() == b""
        assert (app.bodies, app.disconnects) == ([None], 1)


async def test_a_broken_chunk_gets_400_and_ends_the_request() -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await app.begun.wait()
        client.send(b"zz\r\n")
        assert (await client.answer()).error["code"] == "malformed_request"
        await app.left.wait()
        assert app.disconnects == 1
        client.close()


@pytest.mark.parametrize("filler", [b"3;" + b"x" * 2_000_000, b"0\r\nX: " + b"x" * 2_000_000])
async def test_endless_chunk_extensions_and_trailers_are_refused(filler: bytes) -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + filler)
        assert (await client.answer()).error["code"] == "malformed_request"
        client.close()


async def test_a_body_in_tiny_chunks_is_refused_when_they_are_too_many() -> None:
    """Each costs as much time as a large one."""
    async with served(echo, chunk_overhead=1000) as server:
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        for count, status in ((190, 200), (300, 400)):
            client = await server.connect()
            client.send(chunked)
            for _ in range(count // 10):
                client.send(b"1\r\na\r\n" * 10)
                await asyncio.sleep(0)
            client.send(b"0\r\n\r\n")
            assert (await client.answer()).status == status
            client.close()
        assert (
            len((await server.ask(chunked + b"3e8\r\n%b\r\n" % (b"a" * 1000) * 50 + b"0\r\n\r\n")).body)
            > 50_000
        )


async def test_the_rest_of_a_chunked_body_that_nobody_wants_is_not_parsed() -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await reply(send, b"no", 401)

    async with served(refusing) as server:
        client = await server.connect()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert (await client.answer()).status == 401
        client.send(b"1\r\na\r\n")
        assert await client.rest() == b""
        client.close()


async def test_a_body_cut_after_the_response_began_only_ends_the_connection() -> None:
    async def eager(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async with served(eager) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        client.half_close()
        assert (await client.rest()).endswith(b"\r\n\r\nabc")


async def test_a_head_cut_by_a_half_close_gets_400() -> None:
    async with served(echo) as server:
        client = await server.connect()
        client.send(POST)
        client.half_close()
        assert (await client.answer()).error["code"] == "incomplete_head"


async def test_an_early_answer_reaches_a_client_that_still_sends() -> None:
    async def too_large(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"no", 413, (b"connection", b"close"))

    async with served(too_large, linger=0.2) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: 5000000\r\n\r\n" + b"x" * 1_000_000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"no")
        client.send(b"x" * 1_000_000)
        assert await client.rest() == b""


async def test_the_unread_rest_of_a_body_is_skipped_before_the_next_request() -> None:
    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, scope["path"].encode())

    async with served(hasty) as server:
        client = await server.connect()
        client.send(POST + b"Content-Length: 200000\r\n\r\n")
        assert (await client.answer()).body == b"/v1/x"
        client.send(b"x" * 200_000 + GET)
        assert (await client.answer()).body == b"/"
        client.close()
