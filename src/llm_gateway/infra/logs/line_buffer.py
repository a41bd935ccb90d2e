"""Holds the lines of a log until a thread has written them, so that a reader that stalls never stops a caller."""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable

# Bytes of the longest line. A write of up to PIPE_BUF to a pipe is atomic: lines of several processes do not mix.
LONGEST_LINE = select.PIPE_BUF - 1
_CUT = b" ... (cut)\n"
# Seconds that the thread waits for more lines before it ends, and for a reader before it looks at what else changed.
_LINGER = 0.1
_LOOK = 0.1
# Seconds that a fork, and the end of the process, wait for the thread to end. The end also waits for a reader.
_FORK_WAIT = 0.2
_CLOSE_TIMEOUT = 0.5
# Bytes written to a regular file at once.
_PIECE = 64 * 1024


class LineBuffer:
    """Lines for one descriptor, at most `max_bytes` of them.

    Lines beyond that are dropped and counted. As soon as the descriptor takes lines again, the line that `report`
    makes of their number is written where they are missing. The thread lives only while there are lines, and never
    delays the end of the process. After a fork the child starts empty: the parent writes what waited.
    """

    def __init__(self, file: int, report: Callable[[int], str], *, max_bytes: int = 1024 * 1024) -> None:
        """Write to the descriptor `file`, which the caller closes."""
        self._file = file
        self._report = report
        self._max_bytes = max_bytes
        self.dropped = 0
        self._begin()
        _buffers.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        # Each line, and how many dropped lines it reports.
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._unreported = 0
        self._thread: threading.Thread | None = None
        self._forking = self._is_closed = self._is_writing = self._is_torn = False

    def put(self, text: str) -> None:
        """Take lines that belong together, with their newlines; cut each at `LONGEST_LINE` bytes. Never blocks."""
        lines = [
            _bounded(line) for line in text.encode("utf-8", "backslashreplace").splitlines(keepends=True)
        ]
        with self._changed:
            if self._size + sum(map(len, lines)) > self._max_bytes:
                self.dropped += len(lines)
                self._unreported += len(lines)
                return
            self._add_report()
            for line in lines:
                self._add(line, 0)
            self._start()
            self._changed.notify_all()
        if self._is_closed:
            self._write_all_that_fits()

    def flush(self, timeout: float) -> bool:
        """Wait until all lines are written, for at most `timeout` seconds; tell whether they are."""
        with self._changed:
            # Without a thread there is nothing to wait for.
            end = 0 if self._is_closed else timeout
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, end)

    def close(self, timeout: float) -> None:
        """Flush, and end the thread; what is put later is written at once, or dropped where that would block.

        A thread that is alive while the interpreter is taken down may hold the lock for ever.
        """
        self.flush(timeout)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_FORK_WAIT)

    def _write_all_that_fits(self) -> None:
        while self._waiting and self._is_writable(0):
            self._write_some()

    def _add(self, data: bytes, reports: int) -> None:
        self._waiting.append((data, reports))
        self._size += len(data)

    def _add_report(self) -> None:
        if self._unreported:
            self._add(self._report(self._unreported).encode(), self._unreported)
            self._unreported = 0

    def _start(self) -> None:
        if self._thread is not None or self._is_closed:
            return
        thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No threads any more, or no more threads: the next line tries again.
            return
        self._thread = thread

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._waiting or self._forking or self._is_closed, _LINGER)
                if not self._waiting:
                    self._thread = None
                    return
            if self._is_writable(_LOOK):
                self._write_some()
            elif self._forking or self._is_closed:
                with self._changed:
                    self._thread = None
                    return

    def _is_writable(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        return bool(poll.poll(timeout * 1000))

    def _write_some(self) -> None:
        with self._changed:
            taken = self._take()
            self._is_writing = True
        # A line that was written in part ends first.
        data = (b"\n" if self._is_torn else b"") + b"".join(line for line, _ in taken)
        rest, failed = data, False
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except BlockingIOError:
            # Another process was faster.
            pass
        except OSError:
            failed = True
        with self._changed:
            self._is_writing = False
            if failed:
                self._is_torn |= len(rest) < len(data)
                self.dropped += sum(not reports for _, reports in taken)
                self._unreported += sum(max(1, reports) for _, reports in taken)
                return
            if rest:
                self._waiting.appendleft((rest, 0))
                self._size += len(rest)
            self._is_torn = False
            if not self._waiting:
                self._add_report()

    def _take(self) -> list[tuple[bytes, int]]:
        """Return the next lines that are written together."""
        largest = LONGEST_LINE if _is_stream(self._file) else _PIECE
        taken = [self._waiting.popleft()]
        size = len(taken[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= largest:
            taken.append(self._waiting.popleft())
            size += len(taken[-1][0])
        self._size -= size
        return taken

    # --- fork ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Write what can be written, and hold the lock, so that the child gets a consistent copy."""
        with self._changed:
            self._forking = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FORK_WAIT)
        self._changed.acquire()

    def after_fork_in_parent(self) -> None:
        self._forking = False
        if self._waiting:
            self._start()
        self._changed.release()

    def after_fork_in_child(self) -> None:
        self._begin()


def _bounded(line: bytes) -> bytes:
    if len(line) <= LONGEST_LINE:
        return line
    return line[: LONGEST_LINE - len(_CUT)].decode("utf-8", "ignore").encode() + _CUT


def _is_stream(file: int) -> bool:
    try:
        mode = os.fstat(file).st_mode
    except OSError:
        return True
    return not stat.S_ISREG(mode)


_buffers: weakref.WeakSet[LineBuffer] = weakref.WeakSet()


def _before_fork() -> None:
    for buffer in _buffers:
        buffer.before_fork()


def _after_fork_in_parent() -> None:
    for buffer in _buffers:
        buffer.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for buffer in _buffers:
        buffer.after_fork_in_child()


def _close_all() -> None:
    for buffer in list(_buffers):
        buffer.close(_CLOSE_TIMEOUT)


atexit.register(_close_all)
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
