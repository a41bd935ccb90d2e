"""A chunked reply whose head is recognised, and whose chunks are cut out, is what the parser would have read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from unittest.mock import patch

from hypothesis import event as note
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.http11 import messages
from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser
from llm_gateway.infra.upstream.http11.whole_reply import chunks_start
from tests.fakes.compiled_parts import need_compiled

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = (b"transfer-encoding", b" chunked")
LAST = b"0\r\n\r\n"
STARTS = st.sampled_from(
    [OK, OK, OK, b"HTTP/1.1 200 \r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 201 Made\r\n", b"\r\n" + OK]
)
HEADERS = st.tuples(
    st.sampled_from(
        [
            b"date", b"Transfer-Encoding", b"content-length", b"connection", b"Connection", b"keep-alive", b"trailer",
            b"content-encoding", b"upgrade", b"a b", b"", b"server",
        ]
    ),
    st.sampled_from(
        [
            b" chunked", b" Chunked", b"chunked", b" chunked ", b" gzip, chunked", b" identity", b" 5", b" close",
            b" keep-alive", b" Keep-Alive", b" h2c", b"", b" caf\xe9", b" a\x00", b" a\r b", b" a\r\n b",
        ]
    ),
)  # fmt: skip
SIZES = st.sampled_from([b"%x"] * 6 + [b"%X", b"0%x", b"%x;note=1"])
ENDS = st.sampled_from(
    [LAST] * 6
    + [b"", b"0\r\nx: 1\r\n\r\n", b"00\r\n\r\n", LAST + b"\r\n", LAST + OK, LAST + b"x", b"1\r\n", b"g\r\n"]
)


def said_of(parser: ReplyParser) -> tuple[object, ...]:
    return (
        parser.status,
        b"".join(parser.pieces),
        parser.complete,
        parser.keep_alive,
        parser.ambiguous,
        parser.coding,
        parser.keep_alive_terms,
        parser.headers,
    )


def read(pieces: Sequence[bytes], *, cut: bool, closes: bool = False) -> tuple[list[object], bool]:
    """Return all that a parser says of a reply after each piece, and of the one after it; and if any was cut out."""
    parser, said, was_cut = ReplyParser(), list[object](), False
    for _ in range(2):
        parser.begin()
        for piece in pieces:
            try:
                # As a connection does.
                if cut and parser.at_chunk and parser.feed_chunks(piece):
                    was_cut = True
                else:
                    parser.feed(piece)
            except MalformedReply as error:
                return [*said, str(error)], was_cut
            said.append(said_of(parser))
        if closes:
            said.append(parser.end())
        if not parser.complete or parser.ambiguous:
            break
    return said, was_cut


def both(pieces: Sequence[bytes], *, closes: bool = False) -> bool:
    """Compare what is recognised and cut out with what is parsed; return whether anything was."""
    with patch.object(messages, "body_of", None), patch.object(messages, "cut_chunks", _nothing):
        expected, _ = read(pieces, cut=False, closes=closes)
    found, was_cut = read(pieces, cut=True, closes=closes)
    assert found == expected
    return was_cut


def _nothing(_data: bytes, start: int, /) -> tuple[bytes, int]:
    return b"", start


@given(
    start=STARTS,
    headers=st.lists(HEADERS, max_size=2),
    chunks=st.lists(
        st.tuples(st.sampled_from([b"a", b"data: x\n\n", b"x" * 40, LAST, b"\r\n"]), SIZES), max_size=5
    ),
    end=ENDS,
    between=st.sets(st.integers(0, 6)),
    anywhere=st.sets(st.integers(1, 150), max_size=3),
    closes=st.booleans(),
)
@example(OK, [], [(b"a", b"%x")] * 3, LAST, {1, 2, 3, 4}, set(), False)
@example(OK, [], [(b"a", b"%x")] * 3, b"", {1, 2, 3, 4}, set(), True)
@example(OK, [], [], LAST, {1}, set(), False)
@example(OK, [(b"connection", b" close")], [(b"a", b"%x")] * 2, LAST, {1, 2, 3}, set(), False)
def test_both_ways_read_the_same(
    start: bytes,
    headers: list[tuple[bytes, bytes]],
    chunks: list[tuple[bytes, bytes]],
    end: bytes,
    between: set[int],
    anywhere: set[int],
    closes: bool,
) -> None:
    need_compiled()
    head = start + b"".join(b"%b:%b\r\n" % header for header in [*headers, CHUNKED]) + b"\r\n"
    parts = [head, *(size % len(content) + b"\r\n" + content + b"\r\n" for content, size in chunks), end]
    edges, length = {0}, 0
    for number, part in enumerate(parts, 1):
        length += len(part)
        edges |= {length} if number in between else set()
    edges |= {place for place in anywhere if place < length} | {length}
    wire = b"".join(parts)
    note(f"cut: {both([wire[low:high] for low, high in pairwise(sorted(edges))], closes=closes)}")


def test_a_usual_stream_is_not_parsed_until_something_unusual_comes() -> None:
    need_compiled()
    head = OK + b"date: today\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [head + b"1\r\na\r\n", b"1\r\nb\r\n2\r\ncd\r\n", LAST]
    assert chunks_start(head) == len(head)
    assert both(pieces)
    with patch.object(ReplyParser, "on_message_begin", side_effect=AssertionError):
        said, was_cut = read(pieces, cut=True)
    assert was_cut
    headers = {b"date": b"today", CHUNKED[0]: b"chunked"}
    assert said[2] == said[5] == (200, b"abcd", True, True, False, None, None, headers)
