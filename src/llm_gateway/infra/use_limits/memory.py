"""The memory of a ledger of use: a head with tables, and chunks that hold accounts or holds."""

from __future__ import annotations

import contextlib
import errno
import os
from fcntl import LOCK_UN, flock
from pathlib import Path
from typing import Final, Protocol

from llm_gateway.infra import shared_lock
from llm_gateway.infra.owners import Owners
from llm_gateway.infra.shared_memory import CELL_BYTES, TAG_BYTES, allocate, map_cells, open_locked, tag

# Chunks of the file that are allocated and mapped when they are needed.
CHUNK_BYTES: Final = 64 * 1024
CHUNK_CELLS: Final = CHUNK_BYTES // CELL_BYTES
MAX_CHUNKS: Final = 1024
# Accounts of one chunk, and the integers of one account.
ACCOUNTS: Final = 32
ACCOUNT_CELLS: Final = CHUNK_CELLS // ACCOUNTS
_COLUMN: Final = MAX_CHUNKS * ACCOUNTS
# The head: the tag, a number of the machine's boot, whether a change is under way, how many chunks there are, a clock
# hand for the search of idle accounts; what each chunk holds; then the columns, with one integer for each account.
BOOT, DIRTY, CHUNKS, HAND = (TAG_BYTES // CELL_BYTES + offset for offset in range(4))
# It has the cells up to KINDS for itself: processors pass such a block on as one.
_LOCK: Final = 32
KINDS: Final = 64
KEYS: Final = 4096
OPEN: Final = KEYS + _COLUMN
HELD: Final = OPEN + _COLUMN
HEAD_BYTES: Final = 1024 * 1024
END_OF_HELD: Final = HELD + _COLUMN
# What a chunk holds: accounts, nothing any more, or the holds of an owner (its number plus one).
ACCOUNT_CHUNK, FREE_CHUNK = -1, -2
EMPTY_CHUNK: Final = memoryview(bytes(CHUNK_BYTES)).cast("q")
_LAYOUT: Final = "llm-gateway use limits 2"


def layout() -> str:
    """Return what a file of this layout, with this process' kind of lock, is named by."""
    return f"{_LAYOUT}, {shared_lock.LOCK_KIND}"


class Memory(Protocol):
    """Integers, zero at first."""

    head: memoryview[int]

    def chunk(self, number: int) -> memoryview[int]:
        """Return a chunk; allocate it first if it is new. Raises OSError when there is no room for it."""


class LocalMemory(Memory):
    """The memory of this process."""

    def __init__(self) -> None:
        self.head = memoryview(bytearray(HEAD_BYTES)).cast("q")
        self._chunks: dict[int, memoryview[int]] = {}

    def chunk(self, number: int) -> memoryview[int]:
        found = self._chunks.get(number)
        if found is None:
            found = self._chunks[number] = memoryview(bytearray(CHUNK_BYTES)).cast("q")
        return found


class FileMemory(Memory):
    """A mapped file, which all processes with the same path share. It is locked when it has been opened."""

    def __init__(self, path: Path, namespace: str) -> None:
        """Raises OSError when the file cannot be created or mapped. Call `begin` after checking it."""
        self._chunks: dict[int, memoryview[int]] = {}
        with contextlib.ExitStack() as opened:
            self.descriptor = open_locked(path, tag(layout(), namespace), HEAD_BYTES)
            opened.callback(os.close, self.descriptor)
            # The processes that have it open.
            self.owners = Owners(path.parent)
            opened.callback(self.owners.close)
            self.head = map_cells(self.descriptor, 0, HEAD_BYTES)
            self.lock = shared_lock.make_shared_lock(self.descriptor, self.head, _LOCK, self.owners)
            shared_lock.wait_for_lock(self.lock)
            opened.pop_all()

    def begin(self) -> None:
        """Let others in."""
        self.lock.unlock()
        flock(self.descriptor, LOCK_UN)

    def chunk(self, number: int) -> memoryview[int]:
        found = self._chunks.get(number)
        if found is None:
            start = HEAD_BYTES + number * CHUNK_BYTES
            # Also where it is not new: the file may have been cut, or copied with holes.
            allocate(self.descriptor, start, CHUNK_BYTES)
            found = self._chunks[number] = map_cells(self.descriptor, start, CHUNK_BYTES)
        return found

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            self.lock.close()
            for view in (*self._chunks.values(), self.head):
                view.release()
            os.close(descriptor)
            self.owners.close()


def new_chunk(memory: Memory, kind: int) -> int:
    """Return the number of an empty chunk, which is of `kind` from now on. Raises OSError without room."""
    head = memory.head
    count = head[CHUNKS]
    for number in range(count):
        if head[KINDS + number] == FREE_CHUNK:
            memory.chunk(number)[:] = EMPTY_CHUNK
            head[KINDS + number] = kind
            return number
    if count == MAX_CHUNKS:
        raise OSError(errno.ENOSPC, "too many accounts or open requests at the same time")
    # Before it is announced: another process may map it as soon as it is.
    memory.chunk(count)
    head[KINDS + count] = kind
    head[CHUNKS] = count + 1
    return count
