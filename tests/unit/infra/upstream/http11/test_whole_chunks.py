"""Chunks that are cut out of their frames without a parser; both ways agree, and the parser reads the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.http11 import messages
from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser
from llm_gateway.infra.upstream.http11.whole_chunks import cut_chunks, python_cut_chunks
from tests.fakes.compiled_parts import need_compiled

Cut = Callable[[bytes, int], tuple[bytes, int]]
LAST = b"0\r\n\r\n"


def framed(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


# Sizes of one to three digits, odd frames, and what could be taken for a frame.
CHUNKS = st.one_of(
    st.integers(0, 300).map(lambda size: framed(b"x" * size)),
    st.sampled_from([b"%x", b"%X", b"0%x", b"%x ", b" %x", b"%x;a=b", b"+%x", b"%x\r", b"0x%x"]).map(
        lambda size: framed(b"some content", size)
    ),
    st.binary(max_size=12).map(framed),
    st.sampled_from(
        [LAST, b"0\r\na: b\r\n\r\n", b"\r\n", b"5\r\nhel", b"fffffff\r\n", b"fffffffff\r\n", b"a", b""]
    ),
)
BODIES = st.tuples(
    st.lists(CHUNKS, max_size=6), st.integers(0, 2000), st.binary(max_size=1), st.booleans()
).map(lambda drawn: _changed(b"".join(drawn[0]), *drawn[1:]))


def _changed(data: bytes, place: int, byte: bytes, keeps: bool) -> bytes:
    """Return the data, mostly with one byte that is another, missing or too many."""
    return data[:place] + byte + data[place + (not keeps) :]


@pytest.fixture(params=["python", "compiled"])
def cut(request: pytest.FixtureRequest) -> Cut:
    if request.param == "python":
        return python_cut_chunks
    need_compiled()
    return cut_chunks


@pytest.mark.parametrize(
    ("data", "start", "found"),
    [
        (framed(b"hello") + framed(b"x" * 300) + LAST, 0, (b"hello" + b"x" * 300, 317)),
        (b"head" + framed(b"hello"), 4, (b"hello", 14)),
        (framed(b"hello") + framed(b"world")[:-1], 0, (b"hello", 10)),
        (framed(b"hello") + framed(b"world", b"%x;a=b"), 0, (b"hello", 10)),
        (framed(b"hello") + framed(b"x" * 10, b"%X"), 0, (b"hello", 10)),
        (framed(b"hello") + b"05\r\nworld\r\n", 0, (b"hello", 10)),
        (b"5\r\nhelloworld", 0, (b"", 0)),
        (b"fffffff\r\n", 0, (b"", 0)),
        (b"fffffffffffffffffffff\r\n", 0, (b"", 0)),
        (LAST, 0, (b"", 0)),
        (b"", 0, (b"", 0)),
    ],
)
def test_whole_chunks_are_cut_up_to_the_first_that_is_unusual(
    cut: Cut, data: bytes, start: int, found: tuple[bytes, int]
) -> None:
    assert cut(data, start) == found


@given(BODIES, st.integers(0, 40))
def test_both_ways_return_the_same(data: bytes, start: int) -> None:
    need_compiled()
    start = min(start, len(data))
    assert cut_chunks(data, start) == python_cut_chunks(data, start)
    for size in range(start, min(len(data), 60)):
        assert cut_chunks(data[:size], start) == python_cut_chunks(data[:size], start)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((), TypeError),
        ((b"",), TypeError),
        (("text", 0), TypeError),
        ((b"", "0"), TypeError),
        ((b"", -1), ValueError),
        ((b"", 1), ValueError),
        ((b"", 1 << 80), OverflowError),
    ],
)
def test_other_arguments_are_an_error(wrong: tuple[object, ...], error: type[Exception]) -> None:
    need_compiled()
    with pytest.raises(error):
        cut_chunks(*wrong)  # type: ignore[arg-type]


HEADS = st.tuples(
    st.sampled_from(["", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early\r\nlink: a\r\n\r\n"]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
    st.sampled_from(["200 OK"] * 6 + ["204 No Content", "304 Not Modified", "500 Oh", "101 Switching"]),
    st.lists(
        st.sampled_from(
            [
                *["transfer-encoding: chunked"] * 4,
                "Transfer-Encoding: Chunked",
                "transfer-encoding: gzip",
                "transfer-encoding: gzip, chunked",
                "transfer-encoding: identity",
                "content-length: 5",
                "content-length: 0",
                "connection: close",
                "connection: upgrade",
                "upgrade: h2c",
                "trailer: a",
            ]
        ),
        max_size=4,
    ),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]),
).map(lambda drawn: _head(*drawn))


def _head(before: str, version: str, status: str, lines: list[str], end: str) -> bytes:
    return (before + end.join([f"{version} {status}", *lines, "", ""])).encode()


def _read(wire: bytes, sizes: list[int]) -> dict[str, Any]:
    """Return all that a parser knows after it was fed pieces of these sizes, and what is left."""
    parser, fault, at = ReplyParser(), None, 0
    for size in (*sizes, len(wire)):
        piece, at = wire[at : at + size], at + size
        if not piece:
            continue
        try:
            parser.feed(piece)
        except MalformedReply as error:
            fault = str(error)
            break
    names = ("status", "headers", "complete", "keep_alive", "ambiguous")
    facts: dict[str, Any] = {name: getattr(parser, name) for name in names}
    return facts | {"body": parser.take(), "fault": fault, "ended": parser.end()}


@pytest.mark.parametrize("way", ["python", "compiled"])
@given(
    head=HEADS,
    body=st.one_of(
        BODIES,
        st.lists(st.binary(min_size=1, max_size=30), max_size=5).map(
            lambda each: b"".join(map(framed, each)) + LAST
        ),
    ),
    sizes=st.lists(st.integers(1, 200), max_size=2),
)
@example(
    head=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    body=framed(b"a") * 2 + LAST + b"\r\n",
    sizes=[],
)
@example(
    head=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
    b"transfer-encoding: gzip\r\n\r\n",
    body=framed(b"a") + LAST,
    sizes=[],
)
def test_the_parser_reads_a_reply_as_it_does_without_cutting(
    way: str, head: bytes, body: bytes, sizes: list[int]
) -> None:
    need_compiled()
    ways = {"python": python_cut_chunks, "compiled": cut_chunks}
    with patch.object(messages, "cut_chunks", ways[way]):
        found = _read(head + body, sizes)
    with patch.object(ReplyParser, "_feed_chunks", lambda self, data: self._parser.feed_data(data)):
        assert found == _read(head + body, sizes)
