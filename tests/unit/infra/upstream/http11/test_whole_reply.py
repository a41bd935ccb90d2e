"""A reply that is recognised is what the parser would have read, on any bytes."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.http11 import messages, whole_reply
from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser
from tests.fakes.compiled_parts import need_compiled

OK = b"HTTP/1.1 200 OK\r\n"
NAMES = st.sampled_from(
    [
        b"date",
        b"X-Request-Id",
        b"x-request-id",
        b"Content-Length",
        b"content-length",
        b"connection",
        b"Connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"content-encoding",
        b"upgrade",
        b"trailer",
        b"a b",
        b"",
        b"a\x00",
        b"!#$%&'*+-.^_`|~",
    ]
)
VALUES = st.sampled_from(
    [
        b" 5",
        b"5",
        b" 05",
        b" 5 ",
        b" +5",
        b" 4",
        b"\t5",
        b" 5,5",
        b" keep-alive",
        b" Keep-Alive",
        b" close",
        b" keep-alive, close",
        b" chunked",
        b" gzip",
        b" timeout=5",
        b" h2c",
        b"",
        b" caf\xe9",
        b" a\x7f",
        b" a\x00",
        b" a\r b",
        b" a\n b",
        b" a\r\n b",
    ]
)
STARTS = st.sampled_from(
    [
        OK,
        b"HTTP/1.1 200 \r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 200 Fine \xe9\r\n",
        b"HTTP/1.1 200 OK\n",
        b"\r\n" + OK,
        b"HTTP/1.1  200 OK\r\n",
    ]
)
LENGTH = [(b"content-length", b" 5")]


@pytest.fixture(autouse=True)
def _compiled() -> None:
    need_compiled()


def body_of(data: bytes) -> bytes | None:
    assert whole_reply.body_of is not None
    return whole_reply.body_of(data)


def read(pieces: list[bytes]) -> tuple[object, ...]:
    """Return all that a parser says of a reply, and of the one after it."""
    parser = ReplyParser()
    said: list[object] = []
    for _ in range(2):
        parser.begin()
        try:
            for piece in pieces:
                parser.feed(piece)
        except MalformedReply as error:
            return (*said, str(error))
        said.append((parser.status, b"".join(parser.pieces), parser.complete, parser.keep_alive))
        said.append(
            (parser.ambiguous, parser.coding, parser.keep_alive_terms, parser.headers, parser.headers)
        )
        if not parser.complete or parser.ambiguous:
            break
    return tuple(said)


@given(
    STARTS | st.just(OK),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from([b"hello", b"", b"hell", b"hello!", b"hello" + OK]),
    st.integers(0, 150),
    st.sampled_from([b"", b"\r", b"\n", b"\0", b"x", b":", b" "]),
    st.lists(st.integers(1, 150), max_size=2),
)
@example(OK, [(b"date", b" now"), *LENGTH], b"hello", 150, b"", [])
@example(OK, [*LENGTH, (b"connection", b" Keep-Alive")], b"hello", 150, b"", [])
@example(
    OK,
    [*LENGTH, (b"Set-Cookie", b" a"), (b"set-cookie", b" b"), (b"Set-Cookie", b" c")],
    b"hello",
    150,
    b"",
    [],
)
@example(OK, LENGTH, b"hello", 20, b"", [])
def test_both_ways_read_the_same(
    start: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    place: int,
    byte: bytes,
    splits: list[int],
) -> None:
    lines = [b"%b:%b\r\n" % header for header in [*headers, *LENGTH][: len(headers) + (place % 2)]]
    data = start + b"".join(lines) + b"\r\n" + body
    if place < len(data):
        # One byte is another, or missing.
        data = data[:place] + byte + data[place + 1 :]
    edges = [0, *sorted(splits), len(data)]
    pieces = [data[low:high] for low, high in pairwise(edges) if low < high]
    with patch.object(messages, "body_of", None):
        expected = read(pieces)
    assert read(pieces) == expected
    if (found := body_of(data)) is not None:
        assert data.endswith(b"\r\n\r\n" + found)


@pytest.mark.parametrize("body", [b"a", b"x" * 300, b"\r\n\r\n", bytes(range(256))])
def test_usual_replies_are_recognised(body: bytes) -> None:
    for connection in (b"", b"Connection: keep-alive\r\n"):
        head = OK + b"Date: today\r\n%bContent-Length: %d\r\nx:\r\n\r\n" % (connection, len(body))
        assert body_of(head + body) == body
        for cut in range(1, len(head)):
            assert body_of((head + body)[:cut]) is None


def test_what_is_recognised_is_no_larger_than_what_the_parser_reads_at_once() -> None:
    body = b"x" * messages.OVERHEAD_LIMIT
    parser = ReplyParser()
    parser.feed(OK + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert (parser.recognised, parser.take(), parser.complete) == (None, body, True)


def test_a_reply_after_an_interim_one_is_read_by_the_parser() -> None:
    parser = ReplyParser()
    parser.feed(b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n")
    parser.feed(OK + b"content-length: 1\r\n\r\na")
    assert (parser.recognised, parser.take(), parser.complete) == (None, b"a", True)


@pytest.mark.parametrize("data", [b"", bytearray(OK), "text", None])
def test_anything_else_is_not_recognised(data: bytes) -> None:
    assert body_of(data) is None
