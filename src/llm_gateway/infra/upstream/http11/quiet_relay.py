"""Passes a stream's plain content from a connection to the client's in one call, framing included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from llm_gateway.flow.ports.upstream import QuietContent

try:
    from llm_gateway.infra.upstream.http11 import _chunk_relay as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# Larger chunks, in bytes with their frame, are relayed the ordinary way.
LARGEST = 4096
# Chunks after which they are counted, so that few are held.
_BATCH = 64
_EVENT_START = b"data:"
# No chunk with an event ends like this: its blank line comes last.
_NO_END = b"never"
# No chunk begins like this.
_NEVER = b"\n"


def _starts() -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Return how a chunk with one event begins, and the size of the event, by the size of the chunk with its frame.

    That size fixes the digits.
    """
    starts, sizes = [_NEVER] * LARGEST, [0] * LARGEST
    for size in range(len(_EVENT_START), LARGEST):
        digits = b"%x\r\n" % size
        whole = len(digits) + size + 2
        if whole < LARGEST:
            starts[whole], sizes[whole] = digits + _EVENT_START, size
    return tuple(starts), tuple(sizes)


_STARTS, _SIZES = _starts()


class RelayingConnection(Protocol):
    """The connection whose place a `QuietRelay` takes."""

    # In loop time; when nothing arrives until then, the provider is silent for too long.
    deadline: float
    max_silence: float

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def stop_relaying(self) -> None:
        """End the relaying."""

    def is_at_chunk(self) -> bool:
        """Tell whether the body is being relayed, and the next bytes begin a chunk."""


# What receives the bytes, and what counts those that it passed on.
Receiver = tuple[Callable[[bytes], None], Callable[[], None]]


class QuietRelay:
    """Takes a connection's place at its transport while the body is relayed.

    What is exactly one chunk with one plain event is written to the client as it came; all else goes to the
    connection. What was passed on is counted before anything else sees the stream again (`settle`).
    """

    __slots__ = (
        "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing", "settle",
    )  # fmt: skip

    def __init__(
        self,
        connection: RelayingConnection,
        content: QuietContent,
        now: Callable[[], float],
    ) -> None:
        make_receiver = compiled_receiver if IS_COMPILED else python_receiver
        self.data_received, self.settle = make_receiver(connection, content, now)
        self.eof_received = connection.eof_received
        self.connection_lost = connection.connection_lost
        self.pause_writing = connection.pause_writing
        self.resume_writing = connection.resume_writing


def compiled_receiver(
    connection: RelayingConnection, content: QuietContent, now: Callable[[], float]
) -> Receiver:
    """Return the receiver that does the same in C; only if it was compiled."""
    receiver = _compiled.ChunkReceiver(connection, now, content.event_end, _counter(content), content.sink)
    return receiver.receive, receiver.settle


def python_receiver(
    connection: RelayingConnection, content: QuietContent, now: Callable[[], float]
) -> Receiver:
    """Return the receiver that needs no compiler.

    A closure, and everything in one frame: this runs for each chunk of each stream.
    """
    sink, count = content.sink, _counter(content)
    write, starts, largest = sink.write, _STARTS, LARGEST
    max_silence = connection.max_silence
    passed: list[bytes] = []
    keep = passed.append
    # How a plain event ends, with the end of its chunk; _NO_END while none may be passed on.
    end = _framed_end(content)

    def settle() -> None:
        nonlocal passed, keep
        if passed:
            count(passed)
            passed = []
            keep = passed.append

    def receive(data: bytes) -> None:
        nonlocal end
        size = len(data)
        if (
            size < largest
            and data.endswith(end)
            and data.startswith(starts[size])
            # The event's blank line is the only one.
            and data.find(b"\n\n") == size - 4
            # The client may have left before the task of its request noticed: its transport refuses a write.
            and not sink.gone
        ):
            keep(data)
            write(data)
            connection.deadline = now() + max_silence
            if not sink.open:
                settle()
                end = _NO_END
                connection.stop_relaying()
            elif len(passed) >= _BATCH:
                settle()
            return
        settle()
        end = _NO_END
        connection.data_received(data)
        if connection.is_at_chunk():
            end = _framed_end(content)

    return receive, settle


def _counter(content: QuietContent) -> Callable[[list[bytes]], None]:
    """Return what counts chunks that were passed on."""

    def count(chunks: list[bytes]) -> None:
        content.passed_on(_events(chunks), sum(map(_SIZES.__getitem__, map(len, chunks))))

    return count


def _events(chunks: list[bytes]) -> Iterator[bytes]:
    """Take the events out of their frames one by one, because they are seldom needed."""
    for chunk in chunks:
        yield chunk[-2 - _SIZES[len(chunk)] : -2]


def _framed_end(content: QuietContent) -> bytes:
    end = content.event_end()
    return end + b"\r\n" if end else _NO_END
