"""What passes from a connection to the client's unread, and what goes the ordinary way."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NoReturn

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.http11.quiet_relay import LARGEST, QuietRelay
from tests.fakes.compiled_parts import WAYS, Way, relaying
from tests.fakes.transports import Clockwork

END = b'"finish_reason":null}]}\n\n'
PLAIN = b'data: {"abcdefg",' + END


def framed(content: bytes, size: bytes = b"%x") -> bytes:
    return size % len(content) + b"\r\n" + content + b"\r\n"


class Sink:
    def __init__(self) -> None:
        self.open = True
        self.gone = False
        # The next write fills what the client has not taken.
        self.is_slow = False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.gone
        self.written.append(data)
        self.open = not self.is_slow

    def __call__(self, events: bytes) -> bool:
        raise AssertionError("only whole chunks are written")


class Content:
    """Plain content, while `end` says what it ends with."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.end = END
        self.counted: list[bytes] = []

    def event_end(self) -> bytes:
        return self.end

    def passed_on(self, events: Iterator[bytes], size: int) -> None:
        taken = list(events)
        assert size == sum(map(len, taken))
        self.counted += taken


class RelayedConnection:
    """Notes what reaches it."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.at_chunk = True
        self.stopped = 0
        self.content = Content()
        self.clock = Clockwork()
        self.relay = QuietRelay(self, self.content, self.clock.time)

    def data_received(self, data: bytes) -> None:
        # What was passed on before is counted by now.
        assert [framed(event) for event in self.content.counted] == self.content.sink.written
        self.received.append(data)

    def is_at_chunk(self) -> bool:
        return self.at_chunk

    def stop_relaying(self) -> None:
        self.stopped += 1

    def eof_received(self) -> None:
        self.received.append(b"eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.received.append(b"lost")

    def pause_writing(self) -> None:
        self.received.append(b"pause")

    def resume_writing(self) -> None:
        self.received.append(b"resume")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Run a test in both ways."""
    with relaying(request.param):
        yield request.param


@pytest.fixture
def connection(way: Way) -> RelayedConnection:
    del way
    return RelayedConnection()


def test_a_plain_chunk_is_written_as_it_came_and_counted_later(connection: RelayedConnection) -> None:
    for _ in range(3):
        connection.relay.data_received(framed(PLAIN))
    sink, content = connection.content.sink, connection.content
    assert sink.written == [framed(PLAIN)] * 3
    assert (content.counted, connection.received) == ([], [])
    connection.relay.settle()
    connection.relay.settle()
    assert content.counted == [PLAIN] * 3


def test_few_chunks_are_held_until_they_are_counted(connection: RelayedConnection) -> None:
    for _ in range(1000):
        connection.relay.data_received(framed(PLAIN))
    assert len(connection.content.counted) > 900


def test_what_was_passed_on_is_not_held_as_it_came() -> None:
    with relaying("compiled"):
        connection = RelayedConnection()
    events = [PLAIN.replace(b"abc", b"%d" % number * (number % 7)) for number in range(50)]
    pieces = [framed(event) for event in events]
    before = [sys.getrefcount(piece) for piece in pieces]
    for piece in pieces:
        connection.relay.data_received(piece)
    connection.content.sink.written.clear()
    del piece
    # Of all but the first only what is their own.
    assert [sys.getrefcount(piece) for piece in pieces][1:] == before[1:]
    connection.relay.settle()
    assert connection.content.counted == events


def test_the_silence_begins_with_the_last_plain_chunk(connection: RelayedConnection) -> None:
    relay, clock = connection.relay, connection.clock
    assert relay.silence() == math.inf
    relay.data_received(framed(PLAIN))
    clock.now += 7
    assert relay.silence() == 7
    # The connection itself notes when anything else arrived.
    relay.data_received(b"other")
    assert relay.silence() == 7
    relay.data_received(framed(PLAIN))
    assert relay.silence() == 0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_silence_passes_as_the_time_of_event_loops_does(
    way: Way, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    del way
    with closing(new_loop()) as loop:
        connection = RelayedConnection()
        relay = QuietRelay(connection, connection.content, loop.time)
        relay.data_received(framed(PLAIN))
        before = loop.time()
        while loop.time() < before + 0.01:
            pass
        # uvloop counts whole milliseconds.
        assert 0.008 < relay.silence() < 60


@pytest.mark.parametrize(
    "data",
    [
        framed(PLAIN, b"%X"),
        framed(PLAIN, b"0%x"),
        framed(PLAIN, b"%x;note=1"),
        framed(PLAIN)[:-1],
        framed(PLAIN) + b"0\r\n\r\n",
        framed(PLAIN) * 2,
        framed(PLAIN + PLAIN),
        framed(b": ping\n\n" + PLAIN),
        framed(b": " + PLAIN),
        framed(b"event: error\n" + PLAIN),
        framed(PLAIN.replace(b"null", b'"stop"')),
        framed(PLAIN.replace(b"\n", b"\r\n") + PLAIN),
        framed(PLAIN.replace(b"\n", b"\r") + PLAIN),
        framed(PLAIN.replace(b"data: ", b"data: \r")),
        framed(b"data: " + b"x" * LARGEST + END),
        PLAIN,
        b"",
    ],
)
def test_all_else_goes_the_ordinary_way(connection: RelayedConnection, data: bytes) -> None:
    connection.relay.data_received(framed(PLAIN))
    connection.relay.data_received(data)
    connection.relay.data_received(framed(PLAIN))
    assert connection.received == [data]
    assert connection.content.sink.written == [framed(PLAIN)] * 2


@pytest.mark.parametrize("why", ["not at a chunk", "no longer plain"])
def test_nothing_passes_while_the_stream_is_in_another_state(connection: RelayedConnection, why: str) -> None:
    connection.at_chunk = why != "not at a chunk"
    connection.content.end = b"" if why == "no longer plain" else END
    for data in (b"odd", framed(PLAIN)):
        connection.relay.data_received(data)
    assert connection.received == [b"odd", framed(PLAIN)]
    connection.at_chunk, connection.content.end = True, END
    for data in (b"odd", framed(PLAIN)):
        connection.relay.data_received(data)
    assert connection.content.sink.written == [framed(PLAIN)]


def test_a_slow_client_ends_the_relaying(connection: RelayedConnection) -> None:
    connection.content.sink.is_slow = True
    connection.relay.data_received(framed(PLAIN))
    assert connection.stopped == 1
    assert connection.content.counted == [PLAIN]
    connection.relay.data_received(framed(PLAIN))
    assert connection.received == [framed(PLAIN)]


class SlottedSink(Sink):
    """Has its attributes where the server's sink has them."""

    __slots__ = ("gone", "open")


class LookedUpSink(Sink):
    """Looks them up."""

    open = property(lambda self: self.may, lambda self, value: setattr(self, "may", value))
    gone = property(lambda self: self.left, lambda self, value: setattr(self, "left", value))


@pytest.mark.parametrize("kind", [Sink, SlottedSink, LookedUpSink])
def test_the_client_is_asked_before_and_after_each_chunk(way: Way, kind: type[Sink]) -> None:
    del way
    connection = RelayedConnection()
    content = connection.content
    content.sink = kind()
    relay = QuietRelay(connection, content, connection.clock.time)
    relay.data_received(framed(PLAIN))
    content.sink.gone = True
    relay.data_received(framed(PLAIN))
    content.sink.gone = False
    content.sink.is_slow = True
    relay.data_received(framed(PLAIN))
    assert (len(content.sink.written), len(connection.received), connection.stopped) == (2, 1, 1)


def test_a_sink_without_its_attributes_is_an_error(way: Way) -> None:
    del way
    connection = RelayedConnection()
    connection.content.sink = SlottedSink()
    relay = QuietRelay(connection, connection.content, connection.clock.time)
    del connection.content.sink.gone
    with pytest.raises(AttributeError):
        relay.data_received(framed(PLAIN))


def test_nothing_is_written_to_a_client_that_has_left(connection: RelayedConnection) -> None:
    connection.relay.data_received(framed(PLAIN))
    connection.content.sink.open, connection.content.sink.gone = False, True
    connection.relay.data_received(framed(PLAIN))
    assert connection.content.sink.written == [framed(PLAIN)]
    assert connection.received == [framed(PLAIN)]


def test_a_fault_leaves_the_rest_to_the_connection(
    connection: RelayedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes) -> None:
        raise ValueError(data)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "data_received", fail)
        with pytest.raises(ValueError, match="odd"):
            connection.relay.data_received(b"odd")
    connection.relay.data_received(framed(PLAIN))
    assert connection.received == [framed(PLAIN)]


def test_everything_else_reaches_the_connection(connection: RelayedConnection) -> None:
    relay = connection.relay
    relay.pause_writing()
    relay.resume_writing()
    relay.eof_received()
    relay.connection_lost(None)
    assert connection.received == [b"pause", b"resume", b"eof", b"lost"]


@pytest.mark.parametrize("size", [10, 15, 16, 17, 255, 256, 257, 4000, LARGEST])
def test_chunks_of_every_length_of_head_pass(size: int) -> None:
    connection = RelayedConnection()
    content = b"data:" + b"x" * max(size - 5 - len(END), 0) + END
    connection.relay.data_received(framed(content))
    assert connection.content.sink.written == ([framed(content)] if len(framed(content)) < LARGEST else [])


_PIECES = st.one_of(
    st.just(framed(PLAIN)),
    st.binary(max_size=40),
    st.integers(0, LARGEST + 8).map(lambda size: framed(b"data:" + b"a" * size + END)),
    st.sampled_from(
        [b"", b"data:", b"data:\n\n", b"data: 1\n\n", b"data: 1\n\ndata: 2" + END, b"data: 1" + END]
    ).map(framed),
    # One byte of a plain chunk is another, one is missing, or one is too many.
    st.tuples(
        st.sampled_from([PLAIN, b"data: 1" + END]), st.integers(0, 200), st.binary(max_size=1), st.booleans()
    ).map(lambda drawn: _changed(framed(drawn[0]), *drawn[1:])),
    st.tuples(st.sampled_from([b"%X", b"0%x", b"%x ", b"%x;a=b", b""]), st.integers(1, 300)).map(
        lambda drawn: framed(b"data:" + b"a" * drawn[1] + END, drawn[0] if b"%" in drawn[0] else b"%x")
    ),
)
# What events share at their start, and what differs.
_LINES = st.tuples(
    st.sampled_from([b"data:", b'data: {"id":"1","content":"', b'data: {"id":"1","c']),
    st.binary(max_size=30).map(lambda text: text.translate(None, b"\r\n")),
).map(lambda drawn: framed(drawn[0] + drawn[1] + END))
_ENDS = st.sampled_from([END, b"", b"\n\n", b"a\n\n", b'"\n\n'])


def _changed(chunk: bytes, place: int, byte: bytes, keeps: bool) -> bytes:
    place %= len(chunk)
    return chunk[:place] + byte + chunk[place + (not keeps) :]


@given(
    st.lists(
        st.tuples(_PIECES | _LINES, _ENDS, st.sampled_from(["", "slow", "gone", "not at a chunk", "settle"])),
        max_size=80,
    )
)
def test_both_ways_do_the_same_with_any_bytes(story: list[tuple[bytes, bytes, str]]) -> None:
    seen = []
    for way in WAYS:
        with relaying(way):
            connection = RelayedConnection()
        content, relay = connection.content, connection.relay
        for data, end, happening in story:
            content.end = end
            content.sink.is_slow = happening == "slow"
            content.sink.gone = content.sink.gone or happening == "gone"
            connection.at_chunk = happening != "not at a chunk"
            if happening == "settle":
                relay.settle()
            relay.data_received(data)
        relay.settle()
        seen.append(
            (
                content.sink.written,
                connection.received,
                content.counted,
                connection.stopped,
                relay.silence(),
            )
        )
    assert seen[0] == seen[1]


def test_a_relay_leaves_nothing_behind(way: Way) -> None:
    del way

    class Piece(bytes): ...

    connection = RelayedConnection()
    connection.data_received = connection.received.append  # type: ignore[method-assign,assignment]
    piece, other = Piece(framed(PLAIN)), Piece(b"other")
    before = sys.getrefcount(piece), sys.getrefcount(other)
    for _ in range(1000):
        connection.relay.data_received(piece)
        connection.relay.data_received(other)
    connection.content.sink.written.clear()
    connection.content.counted.clear()
    connection.received.clear()
    connection.relay.settle()
    assert (sys.getrefcount(piece), sys.getrefcount(other)) == before
    gone = weakref.ref(connection.content)
    del connection
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("where", ["write", "passed_on", "event_end", "data_received", "time"])
def test_an_error_is_raised_and_loses_no_count(way: Way, where: str) -> None:
    del way
    connection = RelayedConnection()
    content, relay = connection.content, connection.relay
    relay.data_received(framed(PLAIN))

    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    faulty = {"write": content.sink, "time": connection.clock, "data_received": connection}.get(
        where, content
    )
    # Bound methods were taken when the relay was made: a new one takes the faulty ones.
    setattr(faulty, where, fail)

    def pass_on() -> None:
        other = QuietRelay(connection, content, connection.clock.time)
        other.data_received(framed(PLAIN))
        other.data_received(b"other")

    with pytest.raises(ZeroDivisionError):
        pass_on()
    if where != "passed_on":
        relay.settle()
        assert content.counted[-1] == PLAIN
