"""Writes lines to a file that may block, without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
import queue
import select
import stat
import threading
from collections.abc import Iterator

# The size up to which a write to a pipe is atomic, so that lines of several processes do not mix.
_ATOMIC = select.PIPE_BUF

_Job = tuple[bytes, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class LineWriter:
    """One daemon thread that writes. An executor's thread would delay the exit of the process if it blocked."""

    def __init__(self, file: int) -> None:
        """Write to the descriptor `file`, which the caller closes."""
        self._file = file
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Whether the last line was written in part.
        self._is_torn = False

    async def write(self, lines: bytes) -> None:
        """Write whole lines; raise OSError if that fails. Only one call at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="line-writer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put((lines, loop, done))
        await done

    def stop(self) -> None:
        """Stop the thread after the lines it already has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            lines, loop, done = job
            failure: OSError | None = None
            try:
                for piece in _pieces(lines, self._largest()):
                    self._write_all(piece)
            except OSError as error:
                failure = error
            try:
                loop.call_soon_threadsafe(_settle, done, failure)
            except RuntimeError:
                # The loop is closed, so nothing waits for the result.
                return

    def _write_all(self, data: bytes | memoryview) -> None:
        view = memoryview(b"\n" + data if self._is_torn else data)
        whole = len(view)
        try:
            while view:
                try:
                    view = view[os.write(self._file, view) :]
                except BlockingIOError:
                    # The pipe is our own and does not block, or another process made a shared one so.
                    poll = select.poll()
                    poll.register(self._file, select.POLLOUT)
                    poll.poll()
        except OSError:
            self._is_torn |= len(view) < whole
            raise
        self._is_torn = False

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


def has_longer_line(lines: bytes, size: int) -> bool:
    """Tell whether a line, with its newline, has more than `size` bytes."""
    return any(len(piece) > size for piece in _pieces(lines, size))


def _pieces(lines: bytes, largest: int | None) -> Iterator[memoryview]:
    """Cut lines into pieces of at most `largest` bytes; a longer line is a piece of its own."""
    view = memoryview(lines)
    start = 0
    while largest is not None and len(lines) - start > largest:
        end = lines.rfind(b"\n", start, start + largest) + 1
        if not end:
            end = lines.find(b"\n", start) + 1 or len(lines)
        yield view[start:end]
        start = end
    if start < len(lines):
        yield view[start:]
