"""Rate limits that the workers of one machine share through a memory-mapped file, without a server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable
from fcntl import LOCK_UN, flock
from pathlib import Path

from llm_gateway.flow.ports.limits import RateLimiter, Verdict
from llm_gateway.infra import shared_lock
from llm_gateway.infra.owners import Owners
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.ring import OWNER, WINDOW, full, is_idle, refused, reset, take
from llm_gateway.infra.shared_memory import (
    CELL_BYTES,
    TAG_BYTES,
    allocate,
    boot_id,
    map_cells,
    open_locked,
    tag,
)
from llm_gateway.infra.sharing_status import SharingStatus

# The file: the tag, the number of slots in use, a clock hand for the search of idle ones, the lock (with a block of
# cells for itself, as processors pass it on as one), the owner of each slot, then the slots, one ring each. Slots are
# allocated and mapped in chunks of 32, 32, 64, 128 and so on.
_LAYOUT = "llm-gateway rate limits 2"
_SLOTS, _HAND, _LOCK, _OWNERS = TAG_BYTES // CELL_BYTES, TAG_BYTES // CELL_BYTES + 1, 32, 64
MAX_SLOTS = 16_384
_HEAD_BYTES = 192 * 1024
_FIRST_CHUNK = 32
# At least RING_SIZE.
_SLOT_CELLS = 1024
_SLOT_BYTES = _SLOT_CELLS * CELL_BYTES
# A slot that was unused for this long may be given to another credential.
_IDLE_NS = 10 * WINDOW
# How many slots one search for an idle slot examines, before and after the file has its full size.
_SEARCH, _LAST_SEARCH = 8, 512
# The lock is held for microseconds: try at once, then pause between tries, then count without it.
_TRIES = 20
_PAUSE_SECONDS = 0.001


class SharedRateLimiter(RateLimiter):
    """Implements the `RateLimiter` port for several workers of one machine.

    Every call holds the file's lock, which is free once its holder dies; a ring stays usable wherever its writer
    stopped. When the file cannot be used (disk full, or a suspended process holds the lock), this worker counts
    alone; `sharing` shows it. Create it in the process that uses it, and use it from one thread.
    """

    def __init__(
        self,
        directory: Path,
        namespace: str = "",
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        lock_pauses: int = 250,
    ) -> None:
        """Share with all that have the same `directory` and `namespace` (the database of the credential ids).

        `clock` returns nanoseconds since the machine's start, the same in every process. `lock_pauses` is how
        many milliseconds a call waits for the lock. Raises OSError when the file cannot be created or mapped.
        """
        layout = f"{_LAYOUT}, {shared_lock.LOCK_KIND}"
        folder = directory / f"limits-{tag(layout, namespace).hex()[:12]}"
        with contextlib.ExitStack() as opened:
            self._fd = open_locked(folder / "rings", tag(layout, boot_id(), namespace), _HEAD_BYTES)
            opened.callback(os.close, self._fd)
            self._owners = Owners(folder)
            opened.callback(self._owners.close)
            self._head = map_cells(self._fd, 0, _HEAD_BYTES)
            self._lock = shared_lock.make_shared_lock(self._fd, self._head, _LOCK, self._owners)
            flock(self._fd, LOCK_UN)
            opened.pop_all()
        self._try_lock, self._unlock = self._lock.try_lock, self._lock.unlock
        self._clock = clock
        self._lock_tries = _TRIES + lock_pauses
        self._chunks: dict[int, memoryview[int]] = {}
        self._rings: dict[int, memoryview[int]] = {}
        self._alone = InProcessRateLimiter(clock)
        self.sharing = SharingStatus("the workers' shared file", "each worker applies the limits on its own")

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        verdict = self.hit_nowait(credential_id, limit)
        if verdict is not None:
            return verdict
        try:
            await self._wait_for_lock()
        except Exception as error:  # noqa: BLE001 - the port never raises
            return self._count_alone(credential_id, limit, error)
        return self._take_locked(credential_id, limit)

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict | None:
        """Return the verdict, or None when another worker holds the lock, which is rare."""
        if limit <= 0:
            return refused(limit)
        try:
            if not self._try_lock():
                return None
        except Exception as error:  # noqa: BLE001 - as in `hit`
            return self._count_alone(credential_id, limit, error)
        return self._take_locked(credential_id, limit)

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        """Return the refusing verdict, as far as this worker has seen the credential's ring."""
        if limit <= 0:
            return refused(limit)
        try:
            ring = self._rings.get(credential_id)
            if ring is None or ring[OWNER] != credential_id:
                return None
            return full(ring, limit, self._clock())
        except Exception:  # noqa: BLE001 - as in `hit`; a closed file, for one
            return None

    def _take_locked(self, credential_id: int, limit: int) -> Verdict:
        try:
            try:
                ring = self._rings.get(credential_id)
                if ring is None or ring[OWNER] != credential_id:
                    ring = self._find(credential_id)
                verdict = take(ring, limit, self._clock())
            finally:
                self._unlock()
        except Exception as error:  # noqa: BLE001 - as in `hit`
            return self._count_alone(credential_id, limit, error)
        if self.sharing.failing:
            self.sharing.worked()
        return verdict

    def _count_alone(self, credential_id: int, limit: int, error: Exception) -> Verdict:
        """Count in this process alone."""
        self.sharing.failed(_reason(error))
        return self._alone.hit_nowait(credential_id, limit)

    async def close(self) -> None:
        """Release the file; a later hit is counted in this process alone."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            self._lock.close()
            # A mapping keeps its own descriptor until its last view is released.
            for view in (*self._rings.values(), *self._chunks.values(), self._head):
                view.release()
            os.close(descriptor)
            self._owners.close()

    async def _wait_for_lock(self) -> None:
        """Acquire the lock; raise BlockingIOError when it is not released in time."""
        for attempt in range(self._lock_tries):
            if attempt >= _TRIES:
                await asyncio.sleep(_PAUSE_SECONDS)
            if self._try_lock():
                return
        raise BlockingIOError(errno.EAGAIN, "its lock is not released")

    def _find(self, credential_id: int) -> memoryview[int]:
        """Return the credential's ring; give it a slot if it has none."""
        owners = self._head[_OWNERS : _OWNERS + self._head[_SLOTS]].tolist()
        try:
            slot = owners.index(credential_id)
        except ValueError:
            slot = self._claim(credential_id)
        ring = self._slot(slot)
        if ring[OWNER] != credential_id:
            # The slot was claimed just now, or another process was killed between claim and reset.
            reset(ring, credential_id)
        if len(self._rings) > 2 * MAX_SLOTS:
            self._rings.clear()
        self._rings[credential_id] = ring
        return ring

    def _claim(self, credential_id: int) -> int:
        """Assign an idle or new slot to the credential, without resetting its ring yet."""
        head, count = self._head, self._head[_SLOTS]
        spare = self._clock() - _IDLE_NS
        for _ in range(min(count, _LAST_SEARCH if count == MAX_SLOTS else _SEARCH)):
            slot = head[_HAND] % count
            head[_HAND] = slot + 1
            ring = self._slot(slot)
            if is_idle(ring, spare):
                # Clear the owner first, so that the previous one looks for another slot.
                ring[OWNER] = 0
                head[_OWNERS + slot] = credential_id
                return slot
        if count == MAX_SLOTS:
            raise OSError(errno.ENOSPC, f"more than {MAX_SLOTS} credentials at the same time")
        _, start, slots = _chunk(count)
        if count == start:
            # Before the slot is announced: another process may map the chunk as soon as it is.
            allocate(self._fd, _HEAD_BYTES + start * _SLOT_BYTES, slots * _SLOT_BYTES)
        head[_OWNERS + count] = credential_id
        head[_SLOTS] = count + 1
        return count

    def _slot(self, slot: int) -> memoryview[int]:
        number, start, slots = _chunk(slot)
        chunk = self._chunks.get(number)
        if chunk is None:
            # Again, in case the file was cut or copied with holes.
            allocate(self._fd, _HEAD_BYTES + start * _SLOT_BYTES, slots * _SLOT_BYTES)
            chunk = map_cells(self._fd, _HEAD_BYTES + start * _SLOT_BYTES, slots * _SLOT_BYTES)
            self._chunks[number] = chunk
        first = (slot - start) * _SLOT_CELLS
        return chunk[first : first + _SLOT_CELLS]


def _chunk(slot: int) -> tuple[int, int, int]:
    """Return the number of the slot's chunk, the chunk's first slot, and its size in slots."""
    number = (slot // _FIRST_CHUNK).bit_length()
    if number == 0:
        return 0, 0, _FIRST_CHUNK
    start = _FIRST_CHUNK << (number - 1)
    return number, start, start


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
