"""Passes a stream's plain content from a connection to the client's in one call, framing included."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from llm_gateway.flow.ports.upstream import QuietContent

try:
    from llm_gateway.infra.upstream.http11 import _chunk_relay as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# Larger chunks, in bytes with their frame, are relayed the ordinary way.
LARGEST = 4096
# As many chunks are held before they are counted.
_BATCH = 64
_EVENT_START = b"data:"
# No chunk with an event ends like this: its blank line comes last.
_NO_END = b"never"
# No chunk begins like this.
_NEVER = b"\n"
# The functions that are known to read the system's monotonic clock.
_SYSTEM_CLOCKS: dict[object, bool] = {}


@cache
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


class RelayingConnection(Protocol):
    """The connection whose place a `QuietRelay` takes."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def stop_relaying(self) -> None:
        """End the relaying."""

    def is_at_chunk(self) -> bool:
        """Tell whether the body is being relayed, and the next bytes begin a chunk."""


class Receiver(Protocol):
    """Receives the bytes of a stream, and passes plain chunks on."""

    @property
    def receive(self) -> Callable[[bytes], None]:
        """What takes the bytes as they arrive."""

    @property
    def settle(self) -> Callable[[], None]:
        """What counts the chunks that were passed on."""

    @property
    def silence(self) -> Callable[[], float]:
        """What tells for how many seconds none was passed on: infinity if none ever was."""


class QuietRelay:
    """Takes a connection's place at its transport while the body is relayed.

    What is exactly one chunk with one plain event is written to the client as it came; all else goes to the
    connection. What was passed on is counted before anything else sees the stream again (`settle`). The connection
    asks for the `silence`, in seconds, when its time seems to be over.
    """

    __slots__ = ("_connection", "_receiver", "data_received")

    def __init__(
        self,
        connection: RelayingConnection,
        content: QuietContent,
        now: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._receiver = make_receiver(connection, content, now)
        # Without a frame of ours for each chunk.
        self.data_received = self._receiver.receive

    def settle(self) -> None:
        self._receiver.settle()

    def silence(self) -> float:
        return self._receiver.silence()

    def eof_received(self) -> None:
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class _PythonReceiver(NamedTuple):
    receive: Callable[[bytes], None]
    settle: Callable[[], None]
    silence: Callable[[], float]


def compiled_receiver(
    connection: RelayingConnection, content: QuietContent, now: Callable[[], float]
) -> Receiver:
    """Return the receiver that does the same in C; only if it was compiled."""
    clock = None if _is_system_clock(now) else now
    return _compiled.ChunkReceiver(connection, clock, content, content.sink)


def python_receiver(
    connection: RelayingConnection, content: QuietContent, now: Callable[[], float]
) -> Receiver:
    """Return the receiver that needs no compiler.

    A closure, and everything in one frame: this runs for each chunk of each stream.
    """
    sink = content.sink
    write, largest = sink.write, LARGEST
    starts, sizes = _starts()
    last = -math.inf
    passed: list[bytes] = []
    keep = passed.append
    # How a plain event ends, with the end of its chunk; _NO_END while none may be passed on.
    end = _framed_end(content)

    def settle() -> None:
        nonlocal passed, keep
        if passed:
            content.passed_on(_events(passed, sizes), sum(map(sizes.__getitem__, map(len, passed))))
            passed = []
            keep = passed.append

    def receive(data: bytes) -> None:
        nonlocal end, last
        size = len(data)
        if (
            size < largest
            and data.endswith(end)
            and data.startswith(starts[size])
            # The event's blank line is the only one.
            and data.find(b"\n\n") == size - 4
            # A carriage return may end another's; the first one ends the chunk's head.
            and data.find(b"\r", 5) == size - 2
            # The client may have left before the task of its request noticed: its transport refuses a write.
            and not sink.gone
        ):
            if len(passed) == _BATCH:
                settle()
            keep(data)
            write(data)
            last = now()
            if not sink.open:
                settle()
                end = _NO_END
                connection.stop_relaying()
            return
        settle()
        end = _NO_END
        connection.data_received(data)
        if connection.is_at_chunk():
            end = _framed_end(content)

    def silence() -> float:
        return now() - last

    return _PythonReceiver(receive, settle, silence)


make_receiver: Callable[[RelayingConnection, QuietContent, Callable[[], float]], Receiver] = (
    compiled_receiver if IS_COMPILED else python_receiver
)


def _is_system_clock(now: Callable[[], float]) -> bool:
    """Tell whether this is the time of an event loop whose clock is the system's monotonic one."""
    function: Any = getattr(now, "__func__", None)
    found = _SYSTEM_CLOCKS.get(function)
    if found is None:
        found = function is asyncio.BaseEventLoop.time or (
            getattr(function, "__module__", ""),
            getattr(function, "__qualname__", ""),
        ) == ("uvloop.loop", "Loop.time")
        if found:
            _SYSTEM_CLOCKS[function] = found
    return found


def _events(chunks: list[bytes], sizes: tuple[int, ...]) -> Iterator[bytes]:
    """Take the events out of their frames one by one, because they are seldom needed."""
    for chunk in chunks:
        yield chunk[-2 - sizes[len(chunk)] : -2]


def _framed_end(content: QuietContent) -> bytes:
    end = content.event_end()
    return end + b"\r\n" if end else _NO_END
