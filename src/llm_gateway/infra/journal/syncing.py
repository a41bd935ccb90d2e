"""Syncs journal files to disk, so that a power cut loses at most the records of the last moments."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from loguru import logger

SyncMode = Literal["never", "interval", "always"]

# Seconds between two syncs of a file that is written to.
INTERVAL = 0.1
# Seconds that `close` waits for a disk that hangs.
_CLOSE_TIMEOUT = 5.0


class JournalSync:
    """Syncs the file that one process writes, in a thread that sleeps while nothing is written.

    All records that were written between two syncs are made durable by the second one (group commit). A file that is
    replaced is synced once more and closed by the thread, which is thereby the only one that closes files: it never
    syncs a number that has become another file's.

    A failed sync is logged once in a row and counted, and never raised.
    """

    def __init__(self, *, interval: float = INTERVAL, sync: Callable[[int], None] = os.fdatasync) -> None:
        """`sync` makes the contents of an open file durable; it may block, and raise OSError."""
        self.failures = 0
        self._interval = interval
        self._sync = sync
        self._file = -1
        # Files to sync and close, and folders whose entries have changed.
        self._replaced: deque[int] = deque()
        self._folders: deque[Path] = deque()
        self._folders_lock = threading.Lock()
        self._is_dirty = False
        self._is_failing = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def opened(self, file: int, *folders: Path) -> None:
        """Sync `file` from now on, and the entries of `folders` once."""
        self.dropped()
        self._file = file
        self._folders.extend(folders)
        if self._thread is None:
            self._closing = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._closing,), name="journal-sync", daemon=True
            )
            self._thread.start()
        self.written()

    def dropped(self) -> None:
        """Sync the file once more, and close it."""
        file, self._file = self._file, -1
        if file >= 0:
            self._replaced.append(file)
            self.written()

    def written(self) -> None:
        """Note that the file was written to: it is synced within the interval."""
        if not self._is_dirty:
            self._is_dirty = True
            self._wake.set()

    def sync_now(self) -> None:
        """Sync the file before returning; takes as long as the disk does."""
        self._sync_file(self._file)
        self._sync_folders()

    def close(self) -> None:
        """Sync and close all files, and end the thread."""
        self.dropped()
        thread, self._thread = self._thread, None
        self._closing.set()
        self._wake.set()
        if thread is not None:
            thread.join(_CLOSE_TIMEOUT)

    def _run(self, closing: threading.Event) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            is_last = closing.is_set()
            self._wake.clear()
            # Before the sync: what is written while it runs needs the next one.
            self._is_dirty = False
            self._sync_all()
            closing.wait(self._interval)

    def _sync_all(self) -> None:
        file = self._file
        while self._replaced:
            replaced = self._replaced.popleft()
            self._sync_file(replaced)
            os.close(replaced)
        # Not if it was one of the replaced files.
        if file >= 0 and file == self._file:
            self._sync_file(file)
        self._sync_folders()

    def _sync_file(self, file: int) -> None:
        try:
            self._sync(file)
        except OSError as error:
            self._fail(error)
        else:
            self._is_failing = False

    def _sync_folders(self) -> None:
        # With the lock, nobody goes on before another thread's sync is done.
        with self._folders_lock:
            while self._folders:
                try:
                    sync_path(self._folders.popleft())
                except OSError as error:
                    self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        if not self._is_failing:
            self._is_failing = True
            logger.error(
                "Cannot sync the usage journal to disk: {}. A power cut may lose usage records; check the disk.",
                error.strerror or type(error).__name__,
            )


def sync_path(path: Path) -> None:
    """Make a file's contents, or a folder's entries, durable; raise OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
