"""The journal's folder: how its files are named, who holds them, and what they weigh."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import msgspec

_LOCK, _FACTS, _UNFINISHED = ".lock", ".jsonl", ".new"
_NAME = re.compile(r"(?P<incarnation>\d+-\d+)(?:\.(?P<sequence>\d+)(?P<kind>\.jsonl|\.new)|\.lock)")


class FactsFile(msgspec.Struct, frozen=True):
    """One file of facts; `size` in bytes is what it was when the folder was read."""

    name: str
    incarnation: str
    sequence: int
    size: int


class Folder(msgspec.Struct, frozen=True):
    """One reading of the folder: every incarnation, with its files of facts in the order they were written.

    An incarnation is one life of one process; its name is never used again.
    """

    incarnations: dict[str, list[FactsFile]]

    def files(self) -> list[FactsFile]:
        """Return all files of facts, oldest incarnation first."""
        return [file for files in self.incarnations.values() for file in files]


def facts_path(directory: Path, incarnation: str, sequence: int, *, finished: bool = True) -> Path:
    """Name a file of facts; it is not `finished` until the open attempts of its forerunner are in it."""
    return directory / f"{incarnation}.{sequence:06d}{_FACTS if finished else _UNFINISHED}"


def read_folder(directory: Path) -> Folder:
    """Read the folder; files that vanish meanwhile are left out. Raises OSError when it cannot be read."""
    incarnations: dict[str, list[FactsFile]] = {}
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
                files.append(FactsFile(entry.name, match["incarnation"], int(match["sequence"]), size))
    for files in incarnations.values():
        files.sort(key=lambda file: file.sequence)
    return Folder(dict(sorted(incarnations.items())))


def used_bytes(directory: Path) -> int:
    """Return what all facts in the folder weigh."""
    return sum(file.size for file in read_folder(directory).files())


def claim(directory: Path, started_us: int) -> tuple[str, int]:
    """Start an incarnation: return its name and the open file whose flock says that it lives.

    The lock is there before the first file of facts, so that facts without a held lock are a dead process'.
    """
    while True:
        incarnation = f"{started_us}-{os.getpid()}"
        started_us += 1
        try:
            lock = os.open(_lock_path(directory, incarnation), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        # Waits only while someone tests the lock, which takes microseconds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return incarnation, lock
        # It was tidied away between its creation and its locking.
        os.close(lock)


def try_lock(path: Path) -> int | None:
    """Take the flock of `path`, made if need be, without waiting; return the open file, or None."""
    return _flock_now(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def is_dead(directory: Path, incarnation: str) -> bool:
    """Tell whether the process of this incarnation is gone."""
    try:
        lock = _flock_now(os.open(_lock_path(directory, incarnation), os.O_RDWR))
    except FileNotFoundError:
        return True
    if lock is None:
        return False
    os.close(lock)
    return True


def forget(directory: Path, incarnation: str) -> None:
    """Remove what a dead incarnation leaves behind beside facts; does nothing while it has facts."""
    path = _lock_path(directory, incarnation)
    try:
        lock = _flock_now(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        lock = None
    else:
        if lock is None:
            return
    try:
        # Looked at under the lock: it may have been a newcomer, between creating its lock and taking it.
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
