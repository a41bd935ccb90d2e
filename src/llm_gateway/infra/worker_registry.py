"""The registry of the workers on one machine: config versions and requests in flight, in a mapped file."""

from __future__ import annotations

import fcntl
import math
import os
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from llm_gateway.flow.ports.workers import LiveWorker, MachineState, WorkerRegistry
from llm_gateway.infra.shared_memory import CELL_BYTES, TAG_BYTES, map_cells, open_locked, tag
from llm_gateway.infra.startup_error import StartupError

# Layout of the file: the tag, how many slots were ever in use, the log level, when /metrics was read and a
# provider tested last, then the slots, one cache line each.
_LAYOUT = "llm-gateway worker registry 1"
_USED = TAG_BYTES // CELL_BYTES
# The number of the log level that is in force, counted from 1; 0 = that of each worker's own settings.
_LOG_LEVEL = _USED + 1
# Unix microseconds; 0 = not since the first of these workers started.
_METRICS_READ, _PROVIDER_TESTED = _USED + 2, _USED + 3
_SLOT_CELLS = 8
# Layout of a slot: process id, served version plus one, requests in flight, the highest version ever announced, which
# outlives the worker, and when the worker started, in Unix microseconds. Only the worker that owns a slot writes it.
_PID, _VERSION, _IN_FLIGHT, _ANNOUNCED, _STARTED = range(5)
_SLOTS = 256
_BYTES = (_SLOTS + 1) * _SLOT_CELLS * CELL_BYTES
# Seconds for which the set of live workers is cached, because each request needs it.
_LIVE_TTL = 0.1


class FileWorkerRegistry(WorkerRegistry, MachineState):
    """Shared by all server processes with the same `DATA_DIR`.

    A worker holds a slot while it lives: the flock on the lock file of the slot, which the kernel releases when
    the worker exits; from then on its numbers are ignored. The first worker clears the file, so nothing from an
    earlier boot or another database is used. Create it in the process that serves; use it from one thread.

    A worker that has not published a version does not serve yet and is not stale. A starting worker therefore
    publishes its first version, then checks `announced_version` once before it serves.
    """

    def __init__(
        self,
        directory: Path,
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
        *,
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        max_workers: int = _SLOTS,
    ) -> None:
        """Take a slot in the registry of `directory` and `namespace`, which names the database.

        Raises StartupError if the directory cannot be used, or if all slots are taken.
        """
        self._clock = clock
        self._unix_us = unix_us
        self._max_workers = min(max_workers, _SLOTS)
        self._folder = directory / f"workers-{tag(namespace).hex()[:12]}"
        # The number of our requests in flight, and the cells with those of the other live workers.
        self._in_flight = 0
        self._others: tuple[int, ...] = ()
        self._others_valid_until = 0.0
        # Descriptors of lock files, by slot: ours, and those that were checked.
        self._locks: dict[int, int] = {}
        try:
            self._cells, self._slot = self._take_slot(tag(_LAYOUT, namespace))
        except StartupError:
            self._close_lock_files()
            raise
        except OSError as error:
            self._close_lock_files()
            raise StartupError(
                f"Workers cannot share {self._folder} ({error.strerror or type(error).__name__}); "
                "set DATA_DIR to a writable folder on a local disk"
            ) from error
        self._first = _cell(self._slot, 0)
        self._in_flight_cell = self._first + _IN_FLIGHT

    def publish_version(self, version: int) -> None:
        self._cells[self._first + _VERSION] = version + 1

    def announce_version(self, version: int) -> None:
        cell = self._first + _ANNOUNCED
        self._cells[cell] = max(version, self._cells[cell])

    def announced_version(self) -> int:
        """Return the highest version announced since the first of these workers started; 0 if none was."""
        cells = self._cells
        return max((cells[_cell(slot, _ANNOUNCED)] for slot in range(cells[_USED])), default=0)

    def stale_workers(self, version: int) -> tuple[int, ...]:
        """Return the process ids of the live workers that serve an older version, including this process."""
        cells = self._cells
        return tuple(
            cells[_cell(slot, _PID)]
            for slot in range(cells[_USED])
            if 0 < cells[_cell(slot, _VERSION)] <= version and self._is_live(slot)
        )

    def workers(self) -> tuple[LiveWorker, ...]:
        cells = self._cells
        live = (
            LiveWorker(
                pid=cells[_cell(slot, _PID)],
                started_at=cells[_cell(slot, _STARTED)] or None,
                version=cells[_cell(slot, _VERSION)] - 1 if cells[_cell(slot, _VERSION)] else None,
                active=cells[_cell(slot, _IN_FLIGHT)],
            )
            for slot in range(cells[_USED])
            if self._is_live(slot)
        )
        return tuple(sorted(live, key=lambda worker: (worker.started_at or 0, worker.pid)))

    def try_enter(self, limit: int) -> bool:
        """Count a request in flight on this machine, unless there are already `limit`.

        Workers that do this at the same moment may exceed the limit by one each. Workers that start or exit
        are noticed up to a tenth of a second late.
        """
        in_flight = self._in_flight
        # Most machines have one worker, and no call of `active` for each request.
        is_alone = not self._others and self._clock() < self._others_valid_until
        if (in_flight if is_alone else self.active()) >= limit:
            return False
        self._in_flight = self._cells[self._in_flight_cell] = in_flight + 1
        return True

    def leave(self) -> None:
        in_flight = self._in_flight
        if in_flight > 0:
            self._in_flight = self._cells[self._in_flight_cell] = in_flight - 1

    def active(self) -> int:
        if self._clock() >= self._others_valid_until:
            self._find_live_workers()
        count = self._in_flight
        for cell in self._others:
            count += self._cells[cell]
        return count

    def set_log_level(self, level: int) -> None:
        """Set the number that `log_level` returns in all workers; 0 until then."""
        self._cells[_LOG_LEVEL] = level

    def log_level(self) -> int:
        """Return what a worker set last, since the first of these workers started."""
        return self._cells[_LOG_LEVEL]

    def note_metrics_read(self) -> None:
        """Remember that /metrics was read now."""
        self._cells[_METRICS_READ] = self._unix_us()

    def note_provider_tested(self) -> None:
        """Remember that a test of a provider has succeeded now."""
        self._cells[_PROVIDER_TESTED] = self._unix_us()

    def metrics_read_at(self) -> int | None:
        return self._cells[_METRICS_READ] or None

    def provider_tested_at(self) -> int | None:
        return self._cells[_PROVIDER_TESTED] or None

    def close(self) -> None:
        """Release the slot; later calls affect this process only."""
        if not self._locks:
            return
        shared, self._cells = self._cells, memoryview(array("q", [0] * len(self._cells)))
        self._others, self._others_valid_until = (), math.inf
        shared[self._first + _PID] = 0
        shared.release()
        self._close_lock_files()

    def _find_live_workers(self) -> None:
        used = range(self._cells[_USED])
        self._others = tuple(
            _cell(slot, _IN_FLIGHT) for slot in used if slot != self._slot and self._is_live(slot)
        )
        self._others_valid_until = self._clock() + _LIVE_TTL

    def _is_live(self, slot: int) -> bool:
        if slot == self._slot:
            return True
        if self._cells[_cell(slot, _PID)] == 0:
            return False
        if self._lock(slot, fcntl.LOCK_SH):
            fcntl.flock(self._locks[slot], fcntl.LOCK_UN)
            return False
        return True

    def _take_slot(self, file_tag: bytes) -> tuple[memoryview[int], int]:
        descriptor = open_locked(self._folder / "slots", file_tag, _BYTES)
        try:
            cells = map_cells(descriptor, 0, _BYTES)
            free = [slot for slot in range(cells[_USED]) if self._lock(slot, fcntl.LOCK_EX)]
            if len(free) == cells[_USED]:
                # No worker is alive.
                cells[_USED:] = memoryview(bytes(_BYTES - TAG_BYTES)).cast("q")
            if not free:
                free = self._unused_slot(cells[_USED])
            slot, *rest = free
            for other in rest:
                fcntl.flock(self._locks[other], fcntl.LOCK_UN)
            cells[_cell(slot, _VERSION)] = 0
            cells[_cell(slot, _IN_FLIGHT)] = 0
            cells[_cell(slot, _STARTED)] = self._unix_us()
            cells[_cell(slot, _PID)] = os.getpid()
            cells[_USED] = max(cells[_USED], slot + 1)
            return cells, slot
        finally:
            # The map holds a duplicate of this descriptor, so closing this one would not release the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _unused_slot(self, used: int) -> list[int]:
        # A worker that checks for live workers holds a lock for a moment: then take the next slot.
        for slot in range(used, self._max_workers):
            if self._lock(slot, fcntl.LOCK_EX):
                return [slot]
        raise StartupError(
            f"{self._max_workers} worker processes already share {self._folder}; "
            "give each group of servers its own DATA_DIR"
        )

    def _lock(self, slot: int, how: int) -> bool:
        """Try to lock a slot without waiting; tell whether it succeeded."""
        descriptor = self._locks.get(slot)
        if descriptor is None:
            path = self._folder / f"worker-{slot}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._locks[slot] = descriptor
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _close_lock_files(self) -> None:
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks.clear()


def _cell(slot: int, what: int) -> int:
    return (slot + 1) * _SLOT_CELLS + what
