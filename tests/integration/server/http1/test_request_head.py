"""Invalid request heads are rejected before the application runs."""

from __future__ import annotations

import pytest

from tests.fakes.served import Receive, Scope, Send, served
from tests.fakes.served_apps import POST, echo


@pytest.mark.parametrize("target", [b"http://A:1/v1/x", b"HTTP://a:1/v1/x"])
async def test_an_absolute_target_that_is_ours_is_a_path(target: bytes) -> None:
    async with served(echo) as server:
        answer = await server.ask(b"GET %b?q HTTP/1.1\r\nHost: a:1\r\n\r\n" % target)
        assert answer.body == b"GET /v1/x?q "
        assert (await server.ask(b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"GET / "


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
