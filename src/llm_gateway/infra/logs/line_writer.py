"""Writes lines to an open file that may block for as long as it likes, without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
import queue
import select
import stat
import threading
from collections.abc import Iterator, Sequence

# What a pipe takes in one piece, so that lines of several processes do not mix.
_ATOMIC = select.PIPE_BUF

_Job = tuple[Sequence[bytes], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class LineWriter:
    """One daemon thread that writes; an executor's thread, blocked for good, would hold up the exit."""

    def __init__(self, file: int) -> None:
        """Write to the descriptor `file`, which stays the caller's to close."""
        self._file = file
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Return when all lines are written; raise OSError when they cannot be. One call at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="line-writer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put((lines, loop, done))
        await done

    def stop(self) -> None:
        """End the thread when it has written what it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            lines, loop, done = job
            failure: OSError | None = None
            try:
                for piece in _pieces(lines, self._largest()):
                    _write_all(self._file, piece)
            except OSError as error:
                failure = error
            try:
                loop.call_soon_threadsafe(_settle, done, failure)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                return

    def _largest(self) -> int | None:
        mode = os.fstat(self._file).st_mode
        return _ATOMIC if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _settle(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is not None:
        done.set_exception(failure)
    else:
        done.set_result(None)


def _pieces(lines: Sequence[bytes], largest: int | None) -> Iterator[bytes]:
    """Join lines to pieces of at most `largest` bytes; a longer line is a piece of its own."""
    if largest is None:
        yield b"".join(lines)
        return
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > largest:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield b"".join(piece)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view) :]
        except BlockingIOError:
            # Somebody made the terminal or pipe non-blocking, for all who share it.
            poll = select.poll()
            poll.register(file, select.POLLOUT)
            poll.poll()
