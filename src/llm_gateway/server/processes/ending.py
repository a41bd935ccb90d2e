"""Ends a process within a bounded time, whatever becomes of the readers of its output."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

# Seconds that the output gets.
_FLUSH_TIMEOUT = 1.0


def flush_output(timeout: float = _FLUSH_TIMEOUT) -> None:
    """Flush standard output and standard error, for at most `timeout` seconds."""
    # In a thread of its own: it may be stopped by a pipe that nobody reads.
    thread = threading.Thread(target=_flush, daemon=True, name="flush")
    try:
        thread.start()
    except RuntimeError:
        # No more threads.
        return
    thread.join(timeout)


def end_process(code: int) -> NoReturn:
    """End the process without waiting for threads or exit handlers."""
    flush_output()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            # Standard output and standard error are None if they were closed.
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            # Nobody is there to be told.
            continue
