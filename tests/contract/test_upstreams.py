"""What a reply may look like on the wire, and what every transport makes of it."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest

from llm_gateway.flow.ports.upstream import OversizedReply, Upstream
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.origin import HELLO, OK, Asked, Script, Visit, answers, origin_of
from tests.fakes.upstream_calls import LIMIT, SECRET, SOON, ask, fault_of, post, read_to_end, whole

CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
# What comes, the body in it, and whether the connection may be used again.
FRAMINGS = {
    "length": (HELLO, b"hello", True),
    "length 0": (OK + b"content-length: 0\r\n\r\n", b"", True),
    "odd names and spaces": (OK + b"CONTENT-Length:  5 \r\nX:\r\n\r\nhello", b"hello", True),
    "chunked": (CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello", True),
    "chunked, empty": (CHUNKED + b"0\r\n\r\n", b"", True),
    "chunked, in capitals": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
        True,
    ),
    "chunk extensions": (CHUNKED + b'5;a=1;b="2"\r\nhello\r\n0;last\r\n\r\n', b"hello", True),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\nretry-after: 9\r\n\r\n", b"hello", True),
    "until the end": (OK + b"content-type: text/plain\r\n\r\nhello", b"hello", False),
    "asks to close": (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 until the end": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 kept": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "no reason": (b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, b"hello", True),
    "after 103 and 103": (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 2 + HELLO, b"hello", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "304": (b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", b"", True),
}
each_framing = pytest.mark.parametrize(("wire", "body", "kept"), FRAMINGS.values(), ids=FRAMINGS.keys())


def and_end(*pieces: bytes) -> Script:
    """Answer one request and close."""

    async def script(visit: Visit) -> None:
        await visit.answer(*pieces)
        visit.end()

    return script


def and_reset(*pieces: bytes) -> Script:
    """Answer one request, let it arrive, and reset the connection."""

    async def script(visit: Visit) -> None:
        await visit.answer(*pieces)
        await asyncio.sleep(0.02)
        visit.reset()

    return script


@each_framing
async def test_a_reply_is_read_in_every_framing(
    upstream: Upstream, wire: bytes, body: bytes, kept: bool
) -> None:
    async with origin_of(answers(wire) if kept else and_end(wire)) as origin:
        for _ in range(2):
            assert await ask(upstream, origin.url()) == (_status(wire), body)
        assert len(origin.visits) == (1 if kept else 2)


def _status(wire: bytes) -> int:
    heads = [line for line in wire.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return int(heads[-1].split()[1])


@each_framing
async def test_a_reply_may_come_byte_by_byte(
    upstream: Upstream, wire: bytes, body: bytes, kept: bool
) -> None:
    drip = [bytes([byte]) for byte in wire]
    async with origin_of(answers(*drip) if kept else and_end(*drip)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert b"".join(await read_to_end(reply)) == body
        assert await reply.read(SOON) == b""
        assert reply.header("retry-after") is None
        reply.close()


@pytest.mark.parametrize("wire", [HELLO, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
async def test_head_and_body_may_come_in_any_two_parts(upstream: Upstream, wire: bytes) -> None:
    async def script(visit: Visit) -> None:
        for split in range(1, len(wire)):
            await visit.answer(wire[:split], wire[split:])

    async with origin_of(script) as origin:
        for _ in range(1, len(wire)):
            assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 1


async def test_headers_are_found_by_lower_case_name(upstream: Upstream) -> None:
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nX-Name: caf\xe9\r\ncontent-length: 0\r\n\r\n"
    async with origin_of(answers(head)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert (reply.status, reply.header("retry-after"), reply.header("x-none")) == (429, "7", None)
        reply.close()


async def test_the_request_is_what_the_adapter_made(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin:
        sent = post(origin.url("/v1/x?key=a%2Fb&c=d"), b'{"a":1}', x_request_id="r1", accept="a/b")
        await whole(await upstream.send(sent, SOON))
        get = UpstreamRequest(url=origin.url("/v1/models"), headers={"x-a": "b"}, method="GET")
        await whole(await upstream.send(get, SOON))
        first, second = origin.visits[0].asked
    assert first.line == "POST /v1/x?key=a%2Fb&c=d HTTP/1.1"
    assert first.body == b'{"a":1}'
    assert _given(first) == sorted(sent.headers.items())
    assert first.header("host") == origin.base.removeprefix("http://")
    assert first.header("content-length") == "7"
    assert (second.line, _given(second)) == ("GET /v1/models HTTP/1.1", [("x-a", "b")])
    assert second.header("content-length") is None


def _given(asked: Asked) -> list[tuple[str, str]]:
    return sorted(pair for pair in asked.headers if pair[0] not in {"host", "content-length"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\nx-evil: 1"),
        ("x-a", "b\rx-evil: 1"),
        ("x-a", "b\0"),
        ("x-a", "\u2028"),
        ("x-a\r\nx-evil", "1"),
        ("x a", "1"),
        ("x:a", "1"),
        ("", "1"),
        ("Host", "elsewhere.example"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
    ],
)
async def test_a_header_that_would_be_more_than_one_is_not_sent(
    upstream: Upstream, name: str, value: str
) -> None:
    async with origin_of(answers(HELLO)) as origin:
        request = post(origin.url())
        request.headers[name] = value
        fault = await fault_of(upstream.send(request, SOON))
        assert fault.kind == "protocol"
        assert "evil" not in str(fault)
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert [len(visit.asked) for visit in origin.visits] == [1]


@pytest.mark.parametrize(
    "url",
    [
        "{}/v1 HTTP/1.1\r\nx-evil: 1",
        "{}/v1\n",
        "{}/a b",
        "ftp://127.0.0.1/",
        "http:///v1",
        "nonsense",
        "{}@x/",
    ],
)
async def test_a_url_that_is_none_is_not_sent(upstream: Upstream, url: str) -> None:
    async with origin_of(answers(HELLO)) as origin:
        fault = await fault_of(upstream.send(post(url.format(origin.base)), SOON))
        assert fault.kind == "protocol"
        assert all(not visit.asked for visit in origin.visits)


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": b"\0" * 100,
    "a status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "HTTP/9": b"HTTP/9 200 OK\r\n\r\n",
    "a header without a colon": OK + b"bad header\r\n\r\n",
    "both framings": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a negative length": OK + b"content-length: -5\r\n\r\nhello",
    "a huge header": OK + b"x-big: " + b"x" * 300_000 + b"\r\ncontent-length: 5\r\n\r\nhello",
    "endless headers": OK + b"x-more: and more of it\r\n" * 20_000,
    "endless interim replies": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 20_000,
    "another protocol after 101": b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello",
}


@pytest.mark.parametrize("wire", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_not_http_is_a_protocol_fault(upstream: Upstream, wire: bytes) -> None:
    async with origin_of(answers(wire)) as origin:
        fault = await fault_of(ask(upstream, origin.url()))
        assert fault.kind == "protocol"
        assert await origin.all_left()


BAD_BODIES = {
    "a chunk size that is none": b"zz\r\nhello\r\n",
    "a chunk longer than it says": b"5\r\nhellooo\r\n0\r\n\r\n",
    "a chunk size beyond counting": b"ffffffffffffffffff1\r\nhello\r\n",
}


@pytest.mark.parametrize("rest", BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_body_that_breaks_off_into_nonsense(upstream: Upstream, rest: bytes, at_once: bool) -> None:
    first = CHUNKED + b"3\r\nabc\r\n"
    async with origin_of(answers(first + rest) if at_once else answers(first, rest)) as origin:
        fault = await fault_of(ask(upstream, origin.url()))
        assert fault.kind == "protocol"
        assert await origin.all_left()


CUTS = {
    "before the head": b"",
    "in the status": b"HTTP/1.1 2",
    "in a header": OK + b"content-le",
    "behind an interim reply": b"HTTP/1.1 100 Continue\r\n\r\n",
    "in a body with a length": OK + b"content-length: 9\r\n\r\nhello",
    "before a chunk": CHUNKED,
    "in a chunk": CHUNKED + b"9\r\nhello",
    "behind a chunk": CHUNKED + b"5\r\nhello\r\n",
    "before the last line": CHUNKED + b"5\r\nhello\r\n0\r\n",
}


@pytest.mark.parametrize("wire", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("ending", [and_end, and_reset])
async def test_a_reply_that_ends_too_early_is_cut(
    upstream: Upstream, wire: bytes, ending: Callable[..., Script]
) -> None:
    async with origin_of(ending(wire)) as origin:
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"
        assert len(origin.visits) == 1
        assert await origin.all_left()


@pytest.mark.parametrize("ending", [and_end, and_reset])
async def test_what_came_before_the_cut_is_handed_out(
    upstream: Upstream, ending: Callable[..., Script]
) -> None:
    async with origin_of(ending(CHUNKED + b"5\r\nhello\r\n", b"5\r\nworld\r\n")) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        got = b""
        while len(got) < 10:
            got += await reply.read(SOON)
        assert got == b"helloworld"
        for _ in range(2):
            assert (await fault_of(reply.read(SOON))).kind == "cut"
        reply.close()


async def test_a_reset_is_no_end_of_a_body_without_a_length(upstream: Upstream) -> None:
    async with origin_of(and_reset(OK + b"\r\nhello")) as origin:
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"


@pytest.mark.parametrize("framing", ["length", "chunked", "until the end"])
async def test_a_body_over_the_limit_is_refused(upstream: Upstream, framing: str) -> None:
    wire, body, _ = FRAMINGS[framing]
    async with origin_of(answers(wire)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        try:
            fault = await fault_of(reply.read_all(len(body) - 1, SOON))
        finally:
            reply.close()
        assert fault.kind == "protocol"
        assert "large" in str(fault)


async def test_a_body_of_just_the_limit_is_read(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert await reply.read_all(5, SOON) == b"hello"
        reply.close()


async def test_a_large_body_is_whole(upstream: Upstream) -> None:
    body = bytes(range(256)) * 40_000
    async with origin_of(answers(OK + b"content-length: %d\r\n\r\n" % len(body) + body)) as origin:
        for _ in range(2):
            assert (await ask(upstream, origin.url()))[1] == body
        assert len(origin.visits) == 1


async def test_chunks_that_came_together_are_read_together(upstream: Upstream) -> None:
    events = b"".join(b"7\r\nevent%d\n\r\n" % number for number in range(10))
    async with origin_of(answers(CHUNKED + events + b"0\r\n\r\n")) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        pieces = await read_to_end(reply)
        reply.close()
    assert b"".join(pieces) == b"".join(b"event%d\n" % number for number in range(10))
    assert len(pieces) == 1


TEXT = b"the same words again and again " * 400


def _bare(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


CODED = {
    "gzip": (b"gzip", gzip.compress(TEXT)),
    "x-gzip": (b"X-GZIP", gzip.compress(TEXT)),
    "deflate": (b"deflate", zlib.compress(TEXT)),
    "bare deflate": (b"deflate", _bare(TEXT)),
    "two gzip members": (b"gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "identity": (b"identity", TEXT),
}


@pytest.mark.parametrize(("coding", "coded"), CODED.values(), ids=CODED.keys())
@pytest.mark.parametrize("drip", [False, True])
async def test_a_coded_body_is_decoded(upstream: Upstream, coding: bytes, coded: bytes, drip: bool) -> None:
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(coded))
    pieces = [head, *(bytes([byte]) for byte in coded[:100]), coded[100:]] if drip else [head + coded]
    async with origin_of(answers(*pieces)) as origin:
        for _ in range(2):
            assert await ask(upstream, origin.url()) == (200, TEXT)
        reply = await upstream.send(post(origin.url()), SOON)
        assert b"".join(await read_to_end(reply)) == TEXT
        reply.close()
        assert len(origin.visits) == 1


async def test_a_coded_stream_gives_each_event_when_it_comes(upstream: Upstream) -> None:
    deflate = zlib.compressobj(wbits=31)
    seen = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
        for number in range(3):
            seen.clear()
            coded = deflate.compress(b"data: %d\n\n" % number) + deflate.flush(zlib.Z_SYNC_FLUSH)
            await visit.send(b"%x\r\n%b\r\n" % (len(coded), coded))
            await seen.wait()
        coded = deflate.flush()
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(coded), coded))

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        for number in range(3):
            assert await reply.read(SOON) == b"data: %d\n\n" % number
            seen.set()
        assert await reply.read(SOON) == b""
        reply.close()


async def test_a_coded_body_without_bytes_is_empty(upstream: Upstream) -> None:
    async with origin_of(answers(OK + b"content-encoding: gzip\r\ncontent-length: 0\r\n\r\n")) as origin:
        assert await ask(upstream, origin.url()) == (200, b"")


BADLY_CODED = {
    "not gzip": (b"gzip", b"this is plain text, whatever was said"),
    "half of it": (b"gzip", gzip.compress(TEXT)[:60]),
    "not deflate": (b"deflate", b"\xff" * 40),
    "half of deflate": (b"deflate", zlib.compress(TEXT)[:40]),
    "brotli": (b"br", b"\x0b\x02\x80hello\x03"),
    "nonsense": (b"nonsense", b"hello"),
    "twice": (b"gzip, gzip", gzip.compress(gzip.compress(TEXT))),
}


@pytest.mark.parametrize(("coding", "coded"), BADLY_CODED.values(), ids=BADLY_CODED.keys())
async def test_a_coding_that_cannot_be_undone_is_a_protocol_fault(
    upstream: Upstream, coding: bytes, coded: bytes
) -> None:
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(coded))
    async with origin_of(answers(head + coded)) as origin:
        assert (await fault_of(ask(upstream, origin.url()))).kind == "protocol"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_stops_at_the_limit(upstream: Upstream, coding: str) -> None:
    deflate = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(30)) + deflate.flush()
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(bomb))
    async with origin_of(answers(head + bomb)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        try:
            fault = await fault_of(reply.read_all(1 << 20, SOON))
            assert (type(fault), fault.kind) == (OversizedReply, "protocol")
        finally:
            reply.close()
        reply = await upstream.send(post(origin.url()), SOON)
        assert len(await reply.read(SOON)) <= 1 << 20
        reply.close()


def test_the_secret_is_in_what_is_sent() -> None:
    """The tests above look for it in faults: it must be there to be told."""
    assert SECRET in str(post("http://x/").headers)
    assert LIMIT > 0
