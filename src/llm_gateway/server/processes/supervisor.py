"""Keeps several worker processes alive, passes signals on, and takes all of them along when it goes."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from loguru import logger

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
# A worker that lived less than this died young: the next one waits, longer each time.
_YOUNG = 10.0
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 15.0
# Seconds for workers to be gone once their own deadlines are over.
_GRACE = 30.0
# Seconds that a thread of the preparation gets to end.
_THREADS_END = 2.0

RunWorker = Callable[[int, bool, Callable[[], None]], int]


class _Slot:
    """The place of one worker."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid: int | None = None
        # Where a worker says that it is ready.
        self.news: int | None = None
        self.spawned_at = 0.0
        self.spawn_at: float | None = 0.0
        self.young_deaths = 0


class Supervisor:
    """Runs `workers` forked processes until told to stop.

    `run_worker(index, first, ready)` is the life of a worker: it calls `ready()` when it serves and returns
    its exit code; SIGTERM tells it to drain, SIGQUIT to cut. `first` is true for one worker of a boot.
    Workers are forked, so that they share what was imported, and one takes the place of another within
    milliseconds. A worker ends by itself at once when the supervisor is gone.
    """

    def __init__(
        self,
        workers: int,
        run_worker: RunWorker,
        *,
        stop_timeout: float,
        on_death: Callable[[int, int], None],
    ) -> None:
        """Take the seconds that workers may drain for; `on_death(index, pid)` is called for each dead worker."""
        self._slots = [_Slot(index) for index in range(workers)]
        self._run_worker = run_worker
        self._stop_timeout = stop_timeout
        self._on_death = on_death
        self._signals: list[int] = []
        self._stops = 0
        self._kill_at: float | None = None
        # Whether any worker ever was, and whether the first slot's was.
        self._was_ready = self._first_was_ready = False
        self._exit_code = 0
        # Closed by the kernel when this process ends in any way: the workers wait for that.
        self._life_read, self._life = os.pipe()
        self._wake_read, self._wake = os.pipe()

    def run(self) -> int:
        """Supervise until all is over, and return the exit code."""
        _wait_for_threads()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_read, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        # What is shared with the workers stays shared: the collector would write into all of it.
        gc.freeze()
        gc.enable()
        try:
            while self._stops == 0 or any(slot.pid is not None for slot in self._slots):
                self._spawn_due()
                self._wait()
                self._reap()
                self._handle_signals()
                self._kill_overdue()
        finally:
            signal.set_wakeup_fd(-1)
        return self._exit_code

    # --- the loop's steps ---------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _spawn_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.spawn_at is not None and slot.spawn_at <= now and self._stops == 0:
                self._spawn(slot)

    def _wait(self) -> None:
        """Sleep until a signal, a worker's news, or the next thing that is due."""
        dues = [slot.spawn_at for slot in self._slots if slot.spawn_at is not None and self._stops == 0]
        if self._kill_at is not None:
            dues.append(self._kill_at)
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        news = {slot.news: slot for slot in self._slots if slot.news is not None}
        readable, _, _ = select.select([self._wake_read, *news], [], [], timeout)
        for descriptor in readable:
            if descriptor == self._wake_read:
                _drain(descriptor)
                continue
            self._hear(news[descriptor])

    def _hear(self, slot: _Slot) -> None:
        """Take a worker's word that it is ready, or its silence if it died."""
        if slot.news is not None:
            if os.read(slot.news, 1):
                self._was_ready = True
                self._first_was_ready |= slot.index == 0
            os.close(slot.news)
            slot.news = None

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._bury(slot, os.waitstatus_to_exitcode(status))

    def _bury(self, slot: _Slot, code: int) -> None:
        """Note a worker's death, and when the next one is due."""
        pid, slot.pid = slot.pid, None
        self._hear(slot)
        self._on_death(slot.index, pid or 0)
        if self._stops:
            return
        if not self._was_ready and code > 0:
            # It has said why, and the next one would say the same.
            logger.error("A worker could not start; the gateway ends.")
            self._exit_code = code
            self._stop(signal.SIGTERM)
            return
        now = time.monotonic()
        if now - slot.spawned_at < _YOUNG:
            wait = min(_FIRST_WAIT * 2**slot.young_deaths, _LONGEST_WAIT)
            slot.young_deaths += 1
        else:
            wait, slot.young_deaths = 0.0, 0
        slot.spawn_at = now + wait
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        when = f"in {wait:g} s" if wait else "now"
        logger.error("Worker {} {}; another one starts {}.", pid, end, when)

    def _handle_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number != signal.SIGCHLD:
                self._stop(signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        """Let the workers drain; cut them the second time, kill them the third."""
        self._stops += 1
        if self._stops == 1:
            logger.info("{}: finishing what is open. Send it again to cut.", number.name)
            self._tell(signal.SIGTERM)
            self._kill_at = time.monotonic() + self._stop_timeout + _GRACE
        elif self._stops == 2:
            logger.warning("{} again: cutting what is open.", number.name)
            self._exit_code = self._exit_code or 128 + number
            self._tell(signal.SIGQUIT)
            self._kill_at = time.monotonic() + _GRACE
        else:
            self._kill_at = time.monotonic()

    def _kill_overdue(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._exit_code = self._exit_code or 1
            self._kill_at = time.monotonic() + 1.0
            self._tell(signal.SIGKILL)

    def _tell(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, number)

    # --- birth --------------------------------------------------------------------------------------

    def _spawn(self, slot: _Slot) -> None:
        slot.spawn_at, slot.spawned_at = None, time.monotonic()
        news_read, news_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between fork and the worker's own handlers would be the supervisor's handler's: hold it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(news_read)
            os.close(news_write)
            logger.error("No worker can be started: {}.", error.strerror)
            slot.spawn_at = time.monotonic() + _LONGEST_WAIT
            return
        if pid == 0:
            os.close(news_read)
            self._live_as_worker(slot.index, news_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(news_write)
        slot.pid, slot.news = pid, news_read

    def _live_as_worker(self, index: int, news: int) -> NoReturn:
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends it to everyone; the supervisor is the one who answers.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for descriptor in (self._life, self._wake, self._wake_read):
                os.close(descriptor)
            for slot in self._slots:
                if slot.news is not None:
                    os.close(slot.news)
            threading.Thread(target=_end_with, args=(self._life_read,), daemon=True, name="life line").start()

            def ready() -> None:
                os.write(news, b"1")
                os.close(news)

            code = self._run_worker(index, index == 0 and not self._first_was_ready, ready)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Exception:  # noqa: BLE001 - the process ends here, whatever it was
            logger.exception("Worker {} failed", os.getpid())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not `exit`: what the supervisor would do at its own end is not the worker's to do.
            os._exit(code)


def _wait_for_threads() -> None:
    """Let what prepared the start end its threads: a fork takes along their locks, and not them."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_THREADS_END)


def _end_with(life: int) -> None:
    """Wait for the supervisor's end, and end: its port must be free for the next one."""
    os.read(life, 1)
    os._exit(1)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
