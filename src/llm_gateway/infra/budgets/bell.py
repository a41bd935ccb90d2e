"""Wakes the worker that borrows, from any worker of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path


class Bell:
    """A named pipe that all workers write to; the one that listens reads. Create it in the process that uses it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # For both directions, so that opening does not wait for the other side.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._listening = False
        self.rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the listener; a full pipe has woken it already."""
        with contextlib.suppress(OSError):
            os.write(self._fd, b"!")

    def listen(self) -> None:
        """Set `rung` when any worker rings."""
        if not self._listening:
            asyncio.get_running_loop().add_reader(self._fd, self._read)
            self._listening = True

    def close(self) -> None:
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._listening = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._fd, 4096)
        self.rung.set()
