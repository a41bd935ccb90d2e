"""The lock of a file that the processes of a machine map, which a process takes without waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from llm_gateway.infra.owners import Owners

try:
    from llm_gateway.infra import _shared_lock as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

if TYPE_CHECKING:
    from llm_gateway.infra._shared_lock import CellLock

_TRY: Final = LOCK_EX | LOCK_NB
_PAUSE_SECONDS: Final = 0.001


class SharedLock(Protocol):
    """A lock between all that have its file open, also in one process; it is free once its holder dies."""

    def try_lock(self) -> bool:
        """Take the lock unless somebody has it, this holder included; tell whether it was taken.

        Raises ValueError once it is closed.
        """

    def unlock(self) -> None:
        """Let the lock go. Raises RuntimeError unless it is held."""

    def close(self) -> None:
        """Let the lock go if it is held. Call it before the file is closed."""


# Takes the file's descriptor, its cells, the one that is the lock's, and who has the file open: `owners` must have a
# number until the lock is closed. Take the number, too, while the file is open under its flock (`open_locked`): a
# process with the number of one that died within the lock is not to be seen before it has cleared that.
MakeSharedLock = Callable[[int, "memoryview[int]", int, Owners], SharedLock]


class FlockLock:
    """Implements `SharedLock` with the file's flock: two system calls each time, and no cell.

    It is free for a process that holds the flock since the file was opened.
    """

    __slots__ = ("_descriptor", "_is_held")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_held = False

    def try_lock(self) -> bool:
        if self._is_held:
            # The kernel would give it to this descriptor again.
            return False
        try:
            flock(self._descriptor, _TRY)
        except BlockingIOError:
            return False
        self._is_held = True
        return True

    def unlock(self) -> None:
        if not self._is_held:
            raise RuntimeError("the lock is not held")
        self._is_held = False
        flock(self._descriptor, LOCK_UN)

    def close(self) -> None:
        if self._is_held:
            self.unlock()
        self._descriptor = -1


def python_shared_lock(descriptor: int, cells: memoryview[int], at: int, owners: Owners) -> SharedLock:
    """Make a lock in Python."""
    del cells, at, owners
    return FlockLock(descriptor)


def compiled_shared_lock(descriptor: int, cells: memoryview[int], at: int, owners: Owners) -> SharedLock:
    """Make a lock that is a cell: zero, or the holder's number plus one."""
    del descriptor
    return _compiled.CellLock(cells, at, owners.number + 1, partial(_recover, owners))


def _recover(owners: Owners, lock: CellLock, holder: int) -> bool:
    """Take the lock from a holder that is dead; tell whether it was.

    The kernel knows who lives: the cell needs no care by those who die, however they do, or when the machine stops.
    """
    try:
        return owners.if_dead(holder - 1, partial(lock.take_over, holder))
    except OSError:
        # Too many open files, for one: the holder may live.
        return False


make_shared_lock: MakeSharedLock = compiled_shared_lock if IS_COMPILED else python_shared_lock
# A part of the name and the tag of a file with such a lock: processes with different kinds share no file.
LOCK_KIND: str = "cell" if IS_COMPILED else "flock"


def wait_for_lock(lock: SharedLock) -> None:
    """Block until the lock is taken: for a start, as long as it takes."""
    while not lock.try_lock():
        time.sleep(_PAUSE_SECONDS)
