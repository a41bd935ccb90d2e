"""What signals mean: when one is the repetition of another, and whether SIGHUP tells of a terminal that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

# Seconds. A process manager, a shell or `make` may pass on a signal that the whole process group got already.
_SAME = 1.0


class StopSignals:
    """Counts the signals to stop. Those that arrive within a second of the last that counted are the same one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted_at: float | None = None

    def counts(self, at: float | None = None) -> bool:
        """Tell whether a signal that arrived now, or at the time `at` of the clock, is a new one."""
        now = self._clock() if at is None else at
        if self._counted_at is not None and now - self._counted_at < _SAME:
            return False
        self._counted_at = now
        return True


class Terminal:
    """The terminal that this process was started on, if any.

    The kernel sends SIGHUP when it is closed; whoever sends SIGHUP otherwise wants a reload.
    """

    def __init__(self) -> None:
        """Create it before SIGHUP gets a handler: `nohup` ignores it, so that the process outlives its terminal."""
        self._matters = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def is_gone(self) -> bool:
        """Tell whether the process had a terminal and has to end with it."""
        return self._matters and not _has_terminal()


def handle_signal(
    number: signal.Signals, loop: asyncio.AbstractEventLoop, handler: Callable[[], None]
) -> None:
    """Call `handler` in the loop at each signal; once the loop is closed, ignore the signal.

    A handler of the loop's own is replaced by the default action when the loop is closed: a signal that is sent
    twice would then kill a process that is about to end by itself, and with the wrong exit code.
    """

    def on_signal(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(handler)

    signal.signal(number, on_signal)


def ignore_stop_signals() -> None:
    """Ignore further signals to stop or to reload, because the process is about to end with an exit code.

    Python replaces handlers by the default actions when it ends, which would end it with another code. SIGINT stays,
    for whoever waits at a terminal.
    """
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _has_terminal() -> bool:
    return any(os.isatty(file) for file in (0, 1, 2))
