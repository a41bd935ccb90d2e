"""A chunked body is handed over whole, whether its chunks come one by one, which no parser sees, or in any pieces."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.messages import (
    MalformedReply,
    ReplyParser,
    is_between_chunks,
    whole_chunk,
)
from tests.fakes.transports import ConnectionOwner, Notes

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
# What could be taken for a chunk's frame, and what could not.
_BITS = st.sampled_from([b"\r\n", b"5\r\n", b"hello", b"0\r\n\r\n", b"a", b"data: x\n\n", b"1", b"b\r\n"])
CONTENTS = st.lists(_BITS, min_size=1, max_size=5).map(b"".join)


def framed(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


@given(
    contents=st.lists(st.tuples(CONTENTS, st.sampled_from([b"%x", b"%X", b"0%x", b"%x;note=1"])), max_size=8),
    data=st.data(),
)
@example(contents=[(b"5\r\nhello\r\n", b"%x")], data=None)
def test_pieces_of_any_size_give_the_whole_body(
    contents: list[tuple[bytes, bytes]], data: st.DataObject | None
) -> None:
    chunks = [framed(content, size) for content, size in contents] + [b"0\r\n\r\n"]
    wire = b"".join(chunks)
    ends = list(itertools.accumulate(map(len, chunks)))
    # Mostly between chunks, as providers send them, and now and then elsewhere.
    places = set(ends)
    if data is not None:
        kept = data.draw(st.sets(st.sampled_from(ends)))
        places = kept | data.draw(st.sets(st.integers(0, len(wire)), max_size=3))
    edges = sorted({0, len(wire), *places})
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]

    async def relayed() -> bytes:
        owner = ConnectionOwner()
        connection = Connection(asyncio.get_running_loop(), owner)
        connection.connection_made(cast("Any", Notes()))
        connection.begin(b"head", b"")
        connection.data_received(HEAD)
        out: list[bytes] = []

        def take(content: bytes) -> bool:
            out.append(content)
            return True

        connection.begin_relay(take, 60, None, None)
        ended = connection.wait(asyncio.get_running_loop().time() + 60)
        for piece in pieces:
            connection.data_received(piece)
        assert await ended
        connection.end_relay()
        assert connection.parser.complete
        connection.release()
        assert owner.kept == [connection]
        connection.abort()
        return b"".join(out)

    assert asyncio.run(relayed()) == b"".join(content for content, _ in contents)


@given(
    left=st.integers(1, 12),
    bits=st.lists(st.sampled_from([b"\r\n", b"1", b"3", b"7", b"a"]), min_size=3, max_size=9),
)
@example(left=7, bits=[b"7", b"\r\n"] * 4)
@example(left=1, bits=[b"1", b"\r\n"] * 2)
def test_the_middle_of_a_chunk_is_not_taken_for_a_whole_one(left: int, bits: list[bytes]) -> None:
    piece = b"".join(bits)
    parser = ReplyParser()
    parser.feed(HEAD + b"%x\r\n" % (left + 1) + b"x")
    parser.take()
    try:
        parser.feed(piece)
    except MalformedReply:
        return
    if is_between_chunks(piece, parser.pieces):
        parser.take()
        parser.feed(framed(b"next") + b"0\r\n\r\n")
        assert (parser.take(), parser.complete) == (b"next", True)


@given(st.binary(max_size=40))
def test_a_chunk_is_one_only_with_its_whole_frame(content: bytes) -> None:
    assert whole_chunk(framed(content)) == content
    for other in (
        content,
        framed(content)[:-1],
        framed(content) + b"x",
        b"0" + framed(content),
        framed(content) * 2,
    ):
        found = whole_chunk(other)
        assert found == b"" or other == framed(found)
