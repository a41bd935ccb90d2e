"""What the workers of one machine tell one another: versions and requests in flight, in a mapped file."""

from __future__ import annotations

import fcntl
import math
import os
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from llm_gateway.infra.shared_memory import CELL_BYTES, TAG_BYTES, map_cells, open_locked, tag
from llm_gateway.infra.startup_error import StartupError

# The file: the tag, how many slots were ever in use, then the slots, a cache line each.
_LAYOUT = "llm-gateway worker board 1"
_USED = TAG_BYTES // CELL_BYTES
_SLOT_CELLS = 8
# What a slot holds: whose it is, the version it serves and one, its requests in flight, the highest version
# it ever announced, which outlives it. Only its worker writes there.
_PID, _VERSION, _IN_FLIGHT, _ANNOUNCED = range(4)
MAX_WORKERS = 256
_BYTES = (MAX_WORKERS + 1) * _SLOT_CELLS * CELL_BYTES
# How long who lives may be believed, where it is asked for every request.
_BELIEVE_SECONDS = 0.1


class FileWorkerRegistry:
    """Implements the `WorkerRegistry` port for every server process that shares a `DATA_DIR`.

    A worker has a slot for as long as it lives: it holds the flock of the slot's own lock file, which the
    kernel frees when it dies, and with that its numbers count for nothing. The first of a group of workers
    starts from a clean board, so nothing of an earlier boot or an earlier database is ever believed. Make it
    in the process that serves, and use it from one thread.

    A worker that has published no version does not serve yet and is no laggard. So a starting worker
    publishes its first version, and then looks at `announced_version` once before it serves.
    """

    def __init__(
        self, directory: Path, namespace: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take a slot on the board of all who name the same `directory` and `namespace` (their database).

        StartupError when the directory cannot be used, or all slots are taken.
        """
        self._clock = clock
        self._folder = directory / f"board-{tag(namespace).hex()[:12]}"
        # Our own number in flight, and the cells of the other live workers' numbers.
        self._in_flight = 0
        self._others: tuple[int, ...] = ()
        self._believe_until = 0.0
        # Descriptors of lock files, by slot: ours, and those that were looked at.
        self._locks: dict[int, int] = {}
        try:
            self._cells, self._slot = self._take_slot(tag(_LAYOUT, namespace))
        except StartupError:
            self._close_locks()
            raise
        except OSError as fault:
            self._close_locks()
            raise StartupError(
                f"Workers cannot share {self._folder} ({fault.strerror or type(fault).__name__}); "
                "make DATA_DIR a writable folder on a local disk"
            ) from fault
        self._first = _cell(self._slot, 0)

    def publish_version(self, version: int) -> None:
        """Say which config version this worker serves."""
        self._cells[self._first + _VERSION] = version + 1

    def announce_version(self, version: int) -> None:
        """Say that this version exists, so that the others go and fetch it."""
        cell = self._first + _ANNOUNCED
        self._cells[cell] = max(version, self._cells[cell])

    def announced_version(self) -> int:
        """Return the highest version announced since the first of these workers started, 0 for none."""
        cells = self._cells
        return max((cells[_cell(slot, _ANNOUNCED)] for slot in range(cells[_USED])), default=0)

    def stale_workers(self, version: int) -> tuple[int, ...]:
        """Return the process ids of the live workers, this one included, that serve an older version."""
        cells = self._cells
        return tuple(
            cells[_cell(slot, _PID)]
            for slot in range(cells[_USED])
            if 0 < cells[_cell(slot, _VERSION)] <= version and self._lives(slot)
        )

    def try_enter(self, limit: int) -> bool:
        """Count one more request in flight on this machine, unless `limit` are already.

        Workers that enter at the same moment may pass the limit by one each, and a worker that has just
        started or died is noticed a tenth of a second late.
        """
        if self.active() >= limit:
            return False
        self._in_flight += 1
        self._cells[self._first + _IN_FLIGHT] = self._in_flight
        return True

    def leave(self) -> None:
        """Count one request less."""
        if self._in_flight > 0:
            self._in_flight -= 1
            self._cells[self._first + _IN_FLIGHT] = self._in_flight

    def active(self) -> int:
        """Return the requests in flight on this machine."""
        if self._clock() >= self._believe_until:
            self._look_around()
        count = self._in_flight
        for cell in self._others:
            count += self._cells[cell]
        return count

    def close(self) -> None:
        """Give up the slot; what is said from here on stays in this process."""
        if not self._locks:
            return
        shared, self._cells = self._cells, memoryview(array("q", [0] * len(self._cells)))
        self._others, self._believe_until = (), math.inf
        shared[self._first + _PID] = 0
        shared.release()
        self._close_locks()

    def _look_around(self) -> None:
        """Find out who lives."""
        used = range(self._cells[_USED])
        self._others = tuple(
            _cell(slot, _IN_FLIGHT) for slot in used if slot != self._slot and self._lives(slot)
        )
        self._believe_until = self._clock() + _BELIEVE_SECONDS

    def _lives(self, slot: int) -> bool:
        if slot == self._slot:
            return True
        if self._cells[_cell(slot, _PID)] == 0:
            return False
        if self._lock(slot, fcntl.LOCK_SH):
            fcntl.flock(self._locks[slot], fcntl.LOCK_UN)
            return False
        return True

    def _take_slot(self, file_tag: bytes) -> tuple[memoryview[int], int]:
        descriptor = open_locked(self._folder / "board", file_tag, _BYTES)
        try:
            cells = map_cells(descriptor, 0, _BYTES)
            free = [slot for slot in range(cells[_USED]) if self._lock(slot, fcntl.LOCK_EX)]
            if len(free) == cells[_USED]:
                # Nobody lives.
                cells[_USED:] = memoryview(bytes(_BYTES - TAG_BYTES)).cast("q")
            if not free:
                free = self._unused_slot(cells[_USED])
            slot, *rest = free
            for other in rest:
                fcntl.flock(self._locks[other], fcntl.LOCK_UN)
            cells[_cell(slot, _VERSION)] = 0
            cells[_cell(slot, _IN_FLIGHT)] = 0
            cells[_cell(slot, _PID)] = os.getpid()
            cells[_USED] = max(cells[_USED], slot + 1)
            return cells, slot
        finally:
            # Not the map's own descriptor: the lock is of both, so let go of it by name.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _unused_slot(self, used: int) -> list[int]:
        # A worker that looks around may hold a lock for a moment: then take the next.
        for slot in range(used, MAX_WORKERS):
            if self._lock(slot, fcntl.LOCK_EX):
                return [slot]
        raise StartupError(
            f"{MAX_WORKERS} worker processes already share {self._folder}; "
            "give each group of servers a DATA_DIR of its own"
        )

    def _lock(self, slot: int, how: int) -> bool:
        """Take a slot's lock without waiting, and tell whether that was possible."""
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

    def _close_locks(self) -> None:
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks.clear()


def _cell(slot: int, what: int) -> int:
    return (slot + 1) * _SLOT_CELLS + what
