"""The holds of a ledger of use: what open requests hold, by the process that serves them, and the sums of that.

A process may be killed at any store. Each change is enclosed by a mark; who finds the mark set, or an owner gone,
computes the sums again from the holds themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llm_gateway.infra.use_limits.memory import (
    CHUNK_CELLS,
    CHUNKS,
    DIRTY,
    EMPTY_CHUNK,
    END_OF_HELD,
    FREE_CHUNK,
    HELD,
    KINDS,
    OPEN,
    Memory,
    new_chunk,
)

# A hold: the account's number plus one, and tokens.
_HOLD_CELLS = 2
# CHUNK_CELLS is a power of 2.
_SHIFT: Final = CHUNK_CELLS.bit_length() - 1
_WITHIN: Final = CHUNK_CELLS - 1
_EMPTY_SUMS: Final = memoryview(bytes((END_OF_HELD - OPEN) * 8)).cast("q")


class HoldTable:
    """Holds of all owners; this process writes as one of them."""

    def __init__(self, memory: Memory, number: int) -> None:
        """`number` is the owner's."""
        self._memory = memory
        self._head = memory.head
        self._kind = number + 1
        # Free places in this owner's chunks, and the number of all its places.
        self._free: list[int] = []
        self._places = 0
        # This owner's chunks.
        self._chunks: dict[int, memoryview[int]] = {}

    def open_requests(self, account: int) -> int:
        return self._head[OPEN + account]

    def held_tokens(self, account: int) -> int:
        return self._head[HELD + account]

    @property
    def open_holds(self) -> int:
        """How many holds this owner has."""
        return self._places - len(self._free)

    def ensure_places(self, number: int) -> None:
        """See to it that the next `number` holds have a place. Raises OSError without room."""
        if self._free and self._head[KINDS + self._free[-1] // CHUNK_CELLS] != self._kind:
            # Another process took this one for dead.
            self._free.clear()
            self._places = 0
        while len(self._free) < number:
            start = new_chunk(self._memory, self._kind) * CHUNK_CELLS
            self._free.extend(range(start, start + CHUNK_CELLS, _HOLD_CELLS))
            self._places += CHUNK_CELLS // _HOLD_CELLS

    def add_at_once(self, account: int, tokens: int) -> int:
        """Do as `ensure_places(1)` and `add` do, mostly in one frame. Raises OSError without room."""
        free, head = self._free, self._head
        if not free or head[KINDS + (free[-1] >> _SHIFT)] != self._kind:
            self.ensure_places(1)
        place = free.pop()
        number, at = place >> _SHIFT, place & _WITHIN
        chunk = self._chunks.get(number) or self._chunk(number)
        head[DIRTY] = 1
        chunk[at + 1] = tokens
        chunk[at] = account + 1
        head[OPEN + account] += 1
        if tokens:
            head[HELD + account] += tokens
        head[DIRTY] = 0
        return place

    def add(self, account: int, tokens: int) -> int:
        """Add a hold, and return its place."""
        head = self._head
        place = self._free.pop()
        # As `divmod` with CHUNK_CELLS, which takes longer.
        number, at = place >> _SHIFT, place & _WITHIN
        chunk = self._chunks.get(number) or self._chunk(number)
        head[DIRTY] = 1
        chunk[at + 1] = tokens
        chunk[at] = account + 1
        head[OPEN + account] += 1
        if tokens:
            head[HELD + account] += tokens
        head[DIRTY] = 0
        return place

    def remove(self, place: int, account: int) -> None:
        """Remove a hold."""
        head = self._head
        number, at = place >> _SHIFT, place & _WITHIN
        chunk = self._chunks.get(number) or self._chunk(number)
        if head[KINDS + number] != self._kind or chunk[at] != account + 1:
            # Another process took this one for dead, or the file was replaced.
            return
        tokens = chunk[at + 1]
        head[DIRTY] = 1
        chunk[at] = 0
        head[OPEN + account] -= 1
        if tokens:
            head[HELD + account] -= tokens
        head[DIRTY] = 0
        self._free.append(place)

    def _chunk(self, number: int) -> memoryview[int]:
        chunk = self._chunks[number] = self._memory.chunk(number)
        return chunk

    def owners(self) -> set[int]:
        """Return the numbers of all owners of holds."""
        head = self._head
        return {kind - 1 for kind in head[KINDS : KINDS + head[CHUNKS]].tolist() if kind > 0}

    @property
    def is_torn(self) -> bool:
        """Whether a process was killed within a change."""
        return self._head[DIRTY] != 0

    def purge(self, is_live: Callable[[int], bool]) -> bool:
        """Drop the holds of owners that are not live, and repair torn sums; tell whether there was anything to do."""
        head = self._head
        gone = {owner + 1 for owner in self.owners() if not is_live(owner)}
        if not gone and not self.is_torn:
            return False
        head[DIRTY] = 1
        for number in range(head[CHUNKS]):
            if head[KINDS + number] in gone:
                self._memory.chunk(number)[:] = EMPTY_CHUNK
                head[KINDS + number] = FREE_CHUNK
        self._sum_up()
        head[DIRTY] = 0
        return True

    def _sum_up(self) -> None:
        """Compute the sums from the holds alone."""
        head = self._head
        head[OPEN:END_OF_HELD] = _EMPTY_SUMS
        for number in range(head[CHUNKS]):
            if head[KINDS + number] <= 0:
                continue
            chunk = self._memory.chunk(number)
            for account, tokens in zip(
                chunk[::_HOLD_CELLS].tolist(), chunk[1::_HOLD_CELLS].tolist(), strict=True
            ):
                if account:
                    head[OPEN + account - 1] += 1
                    head[HELD + account - 1] += tokens
