"""The mapped file in which the workers of one machine share what it has borrowed of budgets."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import struct
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import Final, TypeAlias

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.infra import shared_lock
from llm_gateway.infra.owners import Owners
from llm_gateway.infra.shared_memory import (
    CELL_BYTES,
    TAG_BYTES,
    allocate,
    boot_id,
    map_cells,
    open_locked,
    tag,
)

# The file: the tag, the cells of its head, a hash for each slot, then the slots, one for each window in use.
_LAYOUT: Final = "llm-gateway budget shares 3"
_HEAD_BYTES: Final = 64 * 1024
SLOTS, HOLDER, SINCE, ROUND, BELL, FAILING, WORKERS = range(4, 11)
# It has the cells up to _HASHES for itself: processors pass such a block on as one.
_LOCK: Final = 32
_HASHES: Final = 64
MAX_SLOTS: Final = 4096
MAX_WORKERS: Final = 160
# The cells of a slot. BORROWED is all that was ever borrowed less what was returned; LEASE_END, READ_AT and USED_AT
# are monotonic nanoseconds; AMOUNT, SPENT, ALL_HELD and LEFT are the balance as it was read at READ_AT. IS_NEW: the
# database may have numbers of an earlier use of this window; it begins anew at BASE. CHECKED is USED_AT when all
# that the machine's requests cost was seen to be stored. REFUSED is 1 after a refusal, 2 once that was told.
HASH, BUDGET_ID, START, END, BORROWED, LEASE_END, READ_AT = range(7)
AMOUNT, SPENT, ALL_HELD, LEFT, USED_AT, IS_NEW, BASE, CHECKED, REFUSED, SUBJECT_BYTES = range(7, 17)
# Arrays with a cell for each worker, which only that worker writes while it lives: what its open requests hold, what
# its requests have cost so far, how many are open that hold nothing, and what waiting requests need.
_SUBJECT: Final = 32
HOLDS: Final = _SUBJECT + 128
USED: Final = HOLDS + MAX_WORKERS
OPEN: Final = USED + MAX_WORKERS
WAITING: Final = OPEN + MAX_WORKERS
_SLOT_CELLS: Final = 1024
_SLOT_BYTES: Final = _SLOT_CELLS * CELL_BYTES
# A mapping starts at a multiple of 64 KiB.
_CHUNK_SLOTS: Final = 8

Slot: TypeAlias = "memoryview[int]"


class ShareFile:
    """The slots of this machine, and the places of its workers.

    Whatever reads several cells of a slot, or writes those that are not a worker's own, does it with the lock, which
    is free once its holder dies. A machine is named by the file: when it is made again, after a start of
    the machine, nothing that was borrowed under the old name is used. Create it in the process that uses it.
    """

    def __init__(self, directory: Path, namespace: str, now: int, *, max_workers: int = MAX_WORKERS) -> None:
        """Join the workers in `directory` that use the database `namespace`; `now` is in Unix microseconds.

        Raises OSError.
        """
        # Of each layout another one: workers of an older version that serve their last requests have a keeper, too.
        # And of each kind of lock.
        layout = f"{_LAYOUT}, {shared_lock.LOCK_KIND}"
        self._folder = directory / f"budgets-{tag(layout, namespace).hex()[:12]}"
        self._locks: dict[int, int] = {}
        self._chunks: dict[int, memoryview[int]] = {}
        # With the hashes of their windows.
        self._slots: dict[BudgetWindow, tuple[Slot, int]] = {}
        with contextlib.ExitStack() as opened:
            self.descriptor = open_locked(
                self._folder / "shares", tag(layout, boot_id(), namespace), _HEAD_BYTES
            )
            opened.callback(self._close_files)
            self._owners = Owners(self._folder)
            opened.callback(self._owners.close)
            self.head = _as_cells(map_cells(self.descriptor, 0, _HEAD_BYTES))
            self.lock = shared_lock.make_shared_lock(self.descriptor, self.head, _LOCK, self._owners)
            opened.callback(self.lock.close)
            # Take the lock unless somebody has it, and tell whether it was taken; and let it go.
            self.try_lock: Final = self.lock.try_lock
            self.unlock: Final = self.lock.unlock
            shared_lock.wait_for_lock(self.lock)
            if not self.head[HOLDER]:
                self.head[SINCE] = now
                self.head[HOLDER] = secrets.randbits(62) + 1
            self.worker = self._take_place(max_workers)
            self.clear_workers([self.worker])
            self.unlock()
            flock(self.descriptor, LOCK_UN)
            self._opened = opened.pop_all()

    @property
    def holder(self) -> str:
        """The name of this machine in the database's holds."""
        return f"{self.head[HOLDER]:016x}"

    @property
    def since(self) -> int:
        """When this machine began to borrow under its name, in Unix microseconds."""
        return self.head[SINCE]

    @property
    def folder(self) -> Path:
        return self._folder

    @contextlib.contextmanager
    def locked(self, tries: int = 2000) -> Iterator[None]:
        """Hold the lock; raise BlockingIOError if it is not free within `tries`. It is held for microseconds."""
        for _ in range(tries):
            if self.try_lock():
                break
            os.sched_yield()
        else:
            raise BlockingIOError(errno.EAGAIN, "the lock of the budgets' shares is not released")
        try:
            yield
        finally:
            self.unlock()

    def find(self, window: BudgetWindow) -> Slot | None:
        """Return the window's slot, None if it has none. Needs the lock."""
        known = self._slots.get(window)
        if known is not None and known[0][HASH] == known[1]:
            return known[0]
        self._slots.pop(window, None)
        wanted = _hash(window)
        hashes = self.head[_HASHES : _HASHES + self.head[SLOTS]].tolist()
        try:
            slot = self._slot(hashes.index(wanted))
        except ValueError:
            return None
        if window_of(slot) != window:
            return None
        self._remember(window, slot)
        return slot

    def claim(self, window: BudgetWindow, end: int | None) -> Slot | None:
        """Return the window's slot; give it one if it has none. None = all slots are in use. Needs the lock."""
        slot = self.find(window)
        if slot is not None:
            return slot
        count = self.head[SLOTS]
        hashes = self.head[_HASHES : _HASHES + count].tolist()
        if _hash(window) in hashes:
            return None
        try:
            place = hashes.index(0)
        except ValueError:
            if count == MAX_SLOTS:
                return None
            place = count
        slot = self._slot(place)
        self._write(slot, window, end)
        self.head[_HASHES + place] = slot[HASH]
        self.head[SLOTS] = max(count, place + 1)
        self._remember(window, slot)
        return slot

    def free(self, slot: Slot) -> None:
        """Take the slot from its window. Needs the lock, and no open request."""
        window = window_of(slot)
        hashes = self.head[_HASHES : _HASHES + self.head[SLOTS]].tolist()
        self.head[_HASHES + hashes.index(slot[HASH])] = 0
        slot[HASH] = 0
        self._slots.pop(window, None)

    def slots(self) -> list[Slot]:
        """Return the slots in use. Needs the lock."""
        hashes = self.head[_HASHES : _HASHES + self.head[SLOTS]].tolist()
        return [self._slot(place) for place, found in enumerate(hashes) if found]

    def sum(self, slot: Slot, cells: int) -> int:
        """Return the sum of the workers' cells in one of the arrays."""
        workers = self.head[WORKERS]
        return slot[cells] if workers == 1 else sum(slot[cells : cells + workers])

    def is_open(self, slot: Slot) -> bool:
        """Tell whether requests are open. What those that have ended cost is in the slot already."""
        return self.sum(slot, HOLDS) != 0 or self.sum(slot, OPEN) != 0

    def on_hand(self, slot: Slot) -> int:
        """Return what is borrowed and free; negative when requests have cost more than was borrowed."""
        return slot[BORROWED] - self.taken(slot)

    def taken(self, slot: Slot) -> int:
        """Return what open requests hold and what requests have cost.

        What is held is read first: a request that ends meanwhile counts twice rather than not at all.
        """
        return self.sum(slot, HOLDS) + self.sum(slot, USED)

    def dead_workers(self) -> list[int]:
        """Return the places of workers that are gone."""
        dead = []
        for place in range(self.head[WORKERS]):
            if place != self.worker and self._try_place(place, LOCK_SH):
                flock(self._locks[place], LOCK_UN)
                dead.append(place)
        return dead

    def clear_workers(self, places: list[int]) -> None:
        """Give back what the open requests of these workers held: they are dead. Needs the lock."""
        for slot in self.slots():
            for place in places:
                for cells in (HOLDS, OPEN, WAITING):
                    if slot[cells + place]:
                        slot[cells + place] = 0

    def leave(self) -> bool:
        """Give up the own place; tell whether no worker has one any more. Nothing can be held afterwards."""
        flock(self._locks[self.worker], LOCK_UN)
        return len(self.dead_workers()) >= self.head[WORKERS] - 1

    def close(self) -> None:
        """Leave the workers. The file stays, for those that go on and for the next start."""
        self._slots.clear()
        self._opened.close()

    def _take_place(self, max_workers: int) -> int:
        for place in range(min(max_workers, MAX_WORKERS)):
            if self._try_place(place, LOCK_EX):
                self.head[WORKERS] = max(self.head[WORKERS], place + 1)
                return place
        raise OSError(errno.EUSERS, f"{max_workers} workers share it already")

    def _try_place(self, place: int, how: int) -> bool:
        descriptor = self._locks.get(place)
        if descriptor is None:
            path = self._folder / f"worker-{place}.lock"
            descriptor = self._locks[place] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(descriptor, how | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _slot(self, place: int) -> Slot:
        number, at = divmod(place, _CHUNK_SLOTS)
        chunk = self._chunks.get(number)
        if chunk is None:
            start, size = _HEAD_BYTES + number * _CHUNK_SLOTS * _SLOT_BYTES, _CHUNK_SLOTS * _SLOT_BYTES
            allocate(self.descriptor, start, size)
            chunk = self._chunks[number] = _as_cells(map_cells(self.descriptor, start, size))
        return chunk[at * _SLOT_CELLS : (at + 1) * _SLOT_CELLS]

    def _write(self, slot: Slot, window: BudgetWindow, end: int | None) -> None:
        slot[:] = _as_cells(memoryview(bytes(_SLOT_BYTES)))
        subject = window.subject.encode("utf-8", "replace")
        slot[SUBJECT_BYTES] = len(subject)
        padded = subject.ljust(-(-len(subject) // CELL_BYTES) * CELL_BYTES, b"\0")
        slot[_SUBJECT : _SUBJECT + len(padded) // CELL_BYTES] = _as_cells(memoryview(padded))
        slot[BUDGET_ID], slot[START], slot[END] = window.budget_id, window.start, end or 0
        slot[IS_NEW] = 1
        slot[HASH] = _hash(window)

    def _remember(self, window: BudgetWindow, slot: Slot) -> None:
        if len(self._slots) > 2 * MAX_SLOTS:
            self._slots.clear()
        self._slots[window] = slot, slot[HASH]

    def _close_files(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()


def _as_cells(view: memoryview[int]) -> memoryview[int]:
    """Return a view of 64-bit integers: as C's `long` where it has 64 bits, which Python writes sooner."""
    return view.cast("B").cast("l" if struct.calcsize("l") == CELL_BYTES else "q")


def window_of(slot: Slot) -> BudgetWindow:
    """Return the window that a slot is for."""
    size = slot[SUBJECT_BYTES]
    subject = slot[_SUBJECT : _SUBJECT + -(-size // CELL_BYTES)].tobytes()[:size].decode("utf-8", "replace")
    return BudgetWindow(slot[BUDGET_ID], subject, slot[START])


def _hash(window: BudgetWindow) -> int:
    text = f"{window.budget_id}\0{window.start}\0{window.subject}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1 or 1


assert TAG_BYTES // CELL_BYTES <= SLOTS and WAITING + MAX_WORKERS <= _SLOT_CELLS  # noqa: S101, PT018
