"""Standard output and standard error whose readers may stall, or go away, without stopping the process."""

from __future__ import annotations

import asyncio
import io
import operator
import os
import stat
import sys
import threading
from collections.abc import Callable
from datetime import datetime

from llm_gateway.infra.logs.json_messages import LogMessage, json_time, message_line
from llm_gateway.infra.logs.line_buffer import LineBuffer

# Seconds that an explicit flush, and the end of the process, wait for a reader.
_FLUSH_TIMEOUT = 0.5


class BufferedStream(io.TextIOBase):
    """Replaces `sys.stdout` or `sys.stderr`: whatever is printed goes line by line into a buffer."""

    def __init__(
        self, name: str, file: int, buffer: LineBuffer, shape: Callable[[str, str], str] = operator.add
    ) -> None:
        """`name` is the name of the file, as Python's own streams have it.

        `shape` makes of a text and its end, which may be "" for a line that has only begun, what is written.
        """
        super().__init__()
        self.name = name
        self._file = file
        self._buffer = buffer
        self._shape = shape
        self._lock = threading.Lock()
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        return self._file

    def isatty(self) -> bool:
        return os.isatty(self._file)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self._buffer.put(self._shape(line, "\n"))
        return len(text)

    def flush(self) -> None:
        """Wait a moment for what was written; on an event loop do not wait."""
        with self._lock:
            begun, self._begun = self._begun, ""
        if begun:
            self._buffer.put(self._shape(begun, ""))
        if asyncio._get_running_loop() is None:  # noqa: SLF001 - the public function raises
            self._buffer.flush(_FLUSH_TIMEOUT)


class StandardStreams:
    """The buffers behind this process's standard output and standard error; None where one is closed."""

    def __init__(self) -> None:
        self.output: LineBuffer | None = None
        self.error: LineBuffer | None = None
        self._is_json = False

    def use_json(self) -> None:
        """Make JSON of what is printed to standard error, too: tracebacks of threads, warnings of the interpreter."""
        self._is_json = True

    @property
    def dropped(self) -> int:
        """Return how many lines this process has dropped."""
        return sum(buffer.dropped for buffer in (self.output, self.error) if buffer is not None)

    def protect(self) -> None:
        """Put buffers behind `sys.stdout` and `sys.stderr`, for the rest of the life of the process."""
        if self.output is None and sys.stdout is not None:
            self.output = _buffer_of(1, _report)
            sys.stdout = BufferedStream("<stdout>", 1, self.output)
        if self.error is None and sys.stderr is not None:
            self.error = _buffer_of(2, self._report)
            sys.stderr = BufferedStream("<stderr>", 2, self.error, self._shape_error)

    def _shape_error(self, text: str, end: str) -> str:
        return _warning(text) if self._is_json else text + end

    def _report(self, dropped: int) -> str:
        if self._is_json:
            return _warning(_dropped_here(dropped))
        return _report(dropped)


def _buffer_of(file: int, report: Callable[[int], str]) -> LineBuffer:
    (sys.stdout if file == 1 else sys.stderr).flush()
    _stop_blocking(file)
    return LineBuffer(file, report)


def _report(dropped: int) -> str:
    now = datetime.now().astimezone()
    return (
        f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d} WARNING [{os.getpid()}] "
        f"{_dropped_here(dropped)}\n"
    )


def _dropped_here(dropped: int) -> str:
    return f"{dropped} log line{'s were' if dropped > 1 else ' was'} dropped here: nothing read them."


def _warning(text: str) -> str:
    now = datetime.now().astimezone()
    return message_line(LogMessage(time=json_time(now), level="warning", process=os.getpid(), message=text))


def _stop_blocking(file: int) -> None:
    """Replace a pipe by a description of our own that never blocks, also for what does not use our streams.

    That is the interpreter itself, for example when it dies. The inherited description is shared with the programs
    that gave it to us, and must stay as it is.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(file).st_mode):
            return
        own = os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        # No such folder, no reader, or a pipe of another user.
        return
    os.dup2(own, file)
    os.close(own)


standard_streams = StandardStreams()
