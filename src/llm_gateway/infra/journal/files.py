"""The journal's folder: the names, owners and sizes of its files."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import msgspec

_LOCK, _FACTS, _UNFINISHED = ".lock", ".jsonl", ".new"
_NAME = re.compile(r"(?P<incarnation>\d+-\d+)(?:\.(?P<sequence>\d+)(?P<kind>\.jsonl|\.new)|\.lock)")


class JournalFile(msgspec.Struct, frozen=True):
    """One file of records; `size` is in bytes, as of when the folder was read."""

    name: str
    incarnation: str
    sequence: int
    size: int


class JournalFolder(msgspec.Struct, frozen=True):
    """The folder as of one reading: every incarnation, with its files in the order they were written.

    An incarnation is one run of one process; its name is never used again.
    """

    incarnations: dict[str, list[JournalFile]]

    def files(self) -> list[JournalFile]:
        """Return all files, oldest incarnation first."""
        return [file for files in self.incarnations.values() for file in files]


def journal_path(directory: Path, incarnation: str, sequence: int, *, finished: bool = True) -> Path:
    """Return the path of a file; it is `finished` once it repeats the open attempts of its predecessor."""
    return directory / f"{incarnation}.{sequence:06d}{_FACTS if finished else _UNFINISHED}"


def read_folder(directory: Path) -> JournalFolder:
    """Read the folder, except for files that vanish meanwhile. Raises OSError if it cannot be read."""
    incarnations: dict[str, list[JournalFile]] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            files = incarnations.setdefault(match["incarnation"], [])
            if match["kind"] == _FACTS:
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:
                    continue
                files.append(JournalFile(entry.name, match["incarnation"], int(match["sequence"]), size))
    for files in incarnations.values():
        files.sort(key=lambda file: file.sequence)
    return JournalFolder(dict(sorted(incarnations.items())))


def used_bytes(directory: Path) -> int:
    """Return the bytes of all files in the folder."""
    return sum(file.size for file in read_folder(directory).files())


def start_incarnation(directory: Path, started_us: int) -> tuple[str, int]:
    """Start an incarnation: return its name and the open file whose flock says that its process is alive.

    The lock exists before the first file of records, so records without a held lock belong to a dead process.
    """
    while True:
        incarnation = f"{started_us}-{os.getpid()}"
        started_us += 1
        try:
            lock = os.open(_lock_path(directory, incarnation), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        # Waits only while another process tests the lock, which takes microseconds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return incarnation, lock
        # It was deleted between its creation and its locking.
        os.close(lock)


def try_lock(path: Path) -> int | None:
    """Take the flock of `path` without waiting, creating the file if needed; return the open file, or None."""
    return _flock_now(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def is_dead(directory: Path, incarnation: str) -> bool:
    """Return whether the process of this incarnation is dead."""
    try:
        lock = _flock_now(os.open(_lock_path(directory, incarnation), os.O_RDWR))
    except FileNotFoundError:
        return True
    if lock is None:
        return False
    os.close(lock)
    return True


def is_left_behind(directory: Path, incarnation: str) -> bool:
    """Return whether the process is dead, and not everything of it is stored and forgotten."""
    return _lock_path(directory, incarnation).exists() and is_dead(directory, incarnation)


def forget(directory: Path, incarnation: str) -> None:
    """Delete what a dead incarnation leaves behind; do nothing while it still has records."""
    path = _lock_path(directory, incarnation)
    try:
        lock = _flock_now(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        lock = None
    else:
        if lock is None:
            return
    try:
        # Checked under the lock: it may be a new process, between creating its lock and taking it.
        if read_folder(directory).incarnations.get(incarnation):
            return
        for unfinished in directory.glob(f"{incarnation}.*{_UNFINISHED}"):
            unfinished.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    finally:
        if lock is not None:
            os.close(lock)


def _lock_path(directory: Path, incarnation: str) -> Path:
    return directory / f"{incarnation}{_LOCK}"


def _flock_now(file: int) -> int | None:
    """Return `file` with its flock taken, or close it and return None when another holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file
