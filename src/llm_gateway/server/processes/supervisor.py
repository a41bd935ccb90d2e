"""Runs worker processes: restarts those that exit, forwards signals, and ends them all when it ends."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from loguru import logger

from llm_gateway.server.processes.ending import end_process, flush_output
from llm_gateway.server.processes.signals import StopSignals, Terminal

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# A worker that exits sooner than this is restarted after a delay, which doubles each time.
_EARLY_EXIT = 10.0
_FIRST_RESTART_DELAY = 0.5
_MAX_RESTART_DELAY = 15.0
# Seconds that workers get to exit after their own deadlines, before they are killed.
_GRACE = 30.0
# Seconds to wait for each thread that the preparation left behind.
_THREAD_JOIN_TIMEOUT = 2.0

RunWorker = Callable[[int, bool, Callable[[], None]], int]


class _Slot:
    """One worker, over all processes that take its place in turn."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid: int | None = None
        # The read end of the pipe on which the process reports that it is ready.
        self.ready_pipe: int | None = None
        self.spawned_at = 0.0
        self.spawn_at: float | None = 0.0
        self.early_exits = 0


class Supervisor:
    """Runs `workers` forked processes until told to stop.

    Each process runs `run_worker(index, first, ready)`, which calls `ready()` when it serves and returns the
    exit code. SIGTERM tells it to drain, SIGQUIT to close at once, SIGHUP to reload. `first` is true for one worker
    of a boot. Workers are forked: they share the imported modules, and a restart takes milliseconds. A worker exits
    at once when the supervisor is gone.
    """

    def __init__(
        self,
        workers: int,
        run_worker: RunWorker,
        *,
        stop_timeout: float,
        on_exit: Callable[[int, int], None],
        terminal: Terminal,
    ) -> None:
        """`stop_timeout` is in seconds; `on_exit(index, pid)` is called for each worker process that exited."""
        self._slots = [_Slot(index) for index in range(workers)]
        self._run_worker = run_worker
        self._stop_timeout = stop_timeout
        self._notify_exit = on_exit
        self._terminal = terminal
        self._stop_signals = StopSignals()
        # Each signal, and when it arrived.
        self._signals: list[tuple[int, float]] = []
        self._stops = 0
        self._kill_at: float | None = None
        # Whether any worker was ever ready, and whether the one in the first slot was.
        self._any_was_ready = self._first_was_ready = False
        self._exit_code = 0
        # The liveness pipe: the kernel closes it however this process ends, and the workers wait for that.
        self._liveness_read, self._liveness = os.pipe()
        self._wake_read, self._wake = os.pipe()

    def run(self) -> int:
        """Supervise until all workers have ended, and return the exit code."""
        _join_threads()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_read, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        # Keeps memory shared with the workers: the garbage collector would write to every object.
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
        self._signals.append((number, time.monotonic()))

    def _spawn_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.spawn_at is not None and slot.spawn_at <= now and self._stops == 0:
                self._spawn(slot)

    def _wait(self) -> None:
        """Sleep until a signal, a message on a ready pipe, or the next deadline."""
        dues = [slot.spawn_at for slot in self._slots if slot.spawn_at is not None and self._stops == 0]
        if self._kill_at is not None:
            dues.append(self._kill_at)
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        ready_pipes = {slot.ready_pipe: slot for slot in self._slots if slot.ready_pipe is not None}
        readable, _, _ = select.select([self._wake_read, *ready_pipes], [], [], timeout)
        for descriptor in readable:
            if descriptor == self._wake_read:
                _drain(descriptor)
                continue
            self._read_ready_pipe(ready_pipes[descriptor])

    def _read_ready_pipe(self, slot: _Slot) -> None:
        """Note that a worker is ready, or, at the end of the file, that it exited before it was."""
        if slot.ready_pipe is not None:
            if os.read(slot.ready_pipe, 1):
                self._any_was_ready = True
                self._first_was_ready |= slot.index == 0
            os.close(slot.ready_pipe)
            slot.ready_pipe = None

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._on_worker_exit(slot, os.waitstatus_to_exitcode(status))

    def _on_worker_exit(self, slot: _Slot, code: int) -> None:
        """Handle the exit of a worker, and schedule its restart."""
        pid, slot.pid = slot.pid, None
        self._read_ready_pipe(slot)
        self._notify_exit(slot.index, pid or 0)
        if self._stops:
            return
        if not self._any_was_ready and code > 0:
            # It has logged why, and a restart would fail in the same way.
            logger.error("A worker could not start; the gateway exits.")
            self._exit_code = code
            self._stop(signal.SIGTERM)
            return
        now = time.monotonic()
        if now - slot.spawned_at < _EARLY_EXIT:
            wait = min(_FIRST_RESTART_DELAY * 2**slot.early_exits, _MAX_RESTART_DELAY)
            slot.early_exits += 1
        else:
            wait, slot.early_exits = 0.0, 0
        slot.spawn_at = now + wait
        end = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        when = f"in {wait:g} s" if wait else "now"
        logger.error("Worker {} {}; restarting {}.", pid, end, when)

    def _handle_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number, at in signals:
            if number == signal.SIGCHLD:
                continue
            if number == signal.SIGHUP and not self._terminal.is_gone():
                self._reload()
            elif self._stop_signals.counts(at):
                self._stop(signal.Signals(number))

    def _reload(self) -> None:
        if not self._stops:
            logger.info("SIGHUP: reloading the configuration.")
            self._signal_workers(signal.SIGHUP)

    def _stop(self, number: signal.Signals) -> None:
        """Let the workers drain; the second time close their connections, the third time kill them."""
        self._stops += 1
        if self._stops == 1:
            logger.info("{}: finishing open requests. Send it again to close them now.", number.name)
            self._signal_workers(signal.SIGTERM)
            self._kill_at = time.monotonic() + self._stop_timeout + _GRACE
        elif self._stops == 2:
            logger.warning("{} again: closing open requests.", number.name)
            self._exit_code = self._exit_code or 128 + number
            self._signal_workers(signal.SIGQUIT)
            self._kill_at = time.monotonic() + _GRACE
        else:
            self._kill_at = time.monotonic()

    def _kill_overdue(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._exit_code = self._exit_code or 1
            self._kill_at = time.monotonic() + 1.0
            self._signal_workers(signal.SIGKILL)

    def _signal_workers(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, number)

    # --- spawn --------------------------------------------------------------------------------------

    def _spawn(self, slot: _Slot) -> None:
        slot.spawn_at, slot.spawned_at = None, time.monotonic()
        ready_read, ready_write = os.pipe()
        # What a buffer still holds would be written again by the worker.
        flush_output()
        # Block signals until the worker has its own handlers: the inherited ones belong to the supervisor.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(ready_read)
            os.close(ready_write)
            logger.error("Could not start a worker: {}.", error.strerror)
            slot.spawn_at = time.monotonic() + _MAX_RESTART_DELAY
            return
        if pid == 0:
            os.close(ready_read)
            self._run_as_worker(slot.index, ready_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(ready_write)
        slot.pid, slot.ready_pipe = pid, ready_read

    def _run_as_worker(self, index: int, ready_pipe: int) -> NoReturn:
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends SIGINT to the whole process group; only the supervisor acts on it. Until the worker
            # has a handler, there is nothing to reload.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for descriptor in (self._liveness, self._wake, self._wake_read):
                os.close(descriptor)
            for slot in self._slots:
                if slot.ready_pipe is not None:
                    os.close(slot.ready_pipe)
            threading.Thread(
                target=_exit_with_supervisor, args=(self._liveness_read,), daemon=True, name="liveness"
            ).start()

            def ready() -> None:
                os.write(ready_pipe, b"1")
                os.close(ready_pipe)

            code = self._run_worker(index, index == 0 and not self._first_was_ready, ready)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Exception:  # noqa: BLE001 - the process ends here in any case
            logger.exception("Worker {} failed", os.getpid())
        finally:
            # Not `sys.exit`: the exit handlers are the supervisor's, inherited by the fork.
            end_process(code)


def _join_threads() -> None:
    """Wait for threads to end: a fork copies the locks they hold, but not the threads."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_THREAD_JOIN_TIMEOUT)


def _exit_with_supervisor(liveness: int) -> None:
    """Exit as soon as the supervisor has: the next gateway needs the port."""
    os.read(liveness, 1)
    os._exit(1)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
