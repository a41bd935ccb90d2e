"""Which processes have a folder in use: each has a number while it lives, by a lock that the kernel releases then."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_MOST = 256


class Owners:
    """The numbers of the live processes of one folder. Create it in the process that uses it."""

    def __init__(self, folder: Path, *, most: int = _MOST) -> None:
        """Take the lowest free number. Raises OSError if the folder cannot be used or all numbers are taken."""
        self._most = most
        self._locks: dict[int, int] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not its path: when it is deleted and made again, the locks in the new one say nothing of these processes.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number in range(most):
                if self._lock(number):
                    self.number = number
                    return
            raise OSError(errno.EMFILE, f"{most} processes share {folder} already")
        except BaseException:
            self.close()
            raise

    def is_live(self, number: int) -> bool:
        """Tell whether a process has this number. Its number is not given to another one meanwhile."""
        if number == self.number:
            return True
        if self._lock(number):
            fcntl.flock(self._locks[number], fcntl.LOCK_UN)
            return False
        return True

    def if_dead(self, number: int, act: Callable[[], bool]) -> bool:
        """Return what `act` does if no process has this number, which is given to none meanwhile; else False.

        Raises OSError if that cannot be found out.
        """
        if not 0 <= number < self._most:
            # No process can have it.
            return act()
        if number == self.number or not self._lock(number):
            return False
        try:
            return act()
        finally:
            fcntl.flock(self._locks[number], fcntl.LOCK_UN)

    def close(self) -> None:
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._locks.clear()
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def _lock(self, number: int) -> bool:
        descriptor = self._locks.get(number)
        if descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(f"owner-{number}.lock", flags, 0o600, dir_fd=self._folder)
            self._locks[number] = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
