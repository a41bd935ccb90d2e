"""Requests that never reach the application, and bodies that end early."""

from __future__ import annotations

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import GET, POST, Recorder, echo, reply

HEADERS_99 = b"".join(b"X-%d: 1\r\n" % number for number in range(99))

REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "33 KiB header": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 33_792),
        431,
        "request_head_too_large",
    ),
    "33 KiB header without end": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 33_792,
        431,
        "request_head_too_large",
    ),
    "1 MiB header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_048_576, 431, "request_head_too_large"),
    "33 KiB target": (
        b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 33_792),
        431,
        "request_head_too_large",
    ),
    "101 headers": (
        b"GET / HTTP/1.1\r\nHost: a\r\nY: 1\r\n" + HEADERS_99 + b"\r\n",
        431,
        "request_head_too_large",
    ),
    "endless headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 200, 431, "request_head_too_large"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "invalid_host"),
    "two Hosts, 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", 400, "invalid_host"),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400, "invalid_host"),
    "foreign absolute target": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
    "star": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_target"),
    "length and chunks": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "malformed_request",
    ),
    "chunks and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        400,
        "malformed_request",
    ),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "malformed_request"),
    "gzip coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "unsupported_transfer_encoding"),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed_request"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unsupported_http_version"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
    "bare line feed": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed_request"),
    "folded header": (POST + b"X: a\r\n b\r\n\r\n", 400, "malformed_request"),
    "space before colon": (POST + b"X : a\r\n\r\n", 400, "malformed_request"),
    "NUL": (POST + b"X: a\0b\r\n\r\n", 400, "malformed_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
    "noise": (b"hello\r\n\r\n", 400, "malformed_request"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_bad_head_gets_openais_error(name: str) -> None:
    request, status, code = REFUSALS[name]

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the application was called")

    async with served(never) as server:
        client = await server.connect()
        client.send(request)
        answer = await client.answer()
        assert answer.status == status
        assert answer.error["code"] == code
        assert answer.error["type"] == "invalid_request_error"
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"] == "the-request-id"
        assert answer.headers["content-type"] == "application/json"
        assert await client.rest() == b""
        client.close()


async def test_a_head_at_its_limits_passes() -> None:
    async with served(echo) as server:
        filler = b"x" * (32_768 - 200)
        assert (await server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % filler)).status == 200
        assert (await server.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + HEADERS_99 + b"\r\n")).status == 200


async def test_a_large_head_behind_a_pipelined_request_is_weighed_alone() -> None:
    big = b"GET /b HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 20_000)
    too_big = b"GET /c HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 33_792)
    async with served(echo) as server:
        client = await server.connect()
        client.send(big * 3 + too_big)
        assert [(await client.answer()).status for _ in range(4)] == [200, 200, 200, 431]
        client.close()


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


@pytest.mark.parametrize("filler", [b"3;" + b"x" * 200_000, b"0\r\nX: " + b"x" * 200_000])
async def test_endless_chunk_extensions_and_trailers_are_refused(filler: bytes) -> None:
    app = Recorder()
    async with served(app) as server:
        client = await server.connect()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + filler)
        assert (await client.answer()).error["code"] == "malformed_request"
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
