"""Files of 64-bit integers that the processes of one machine map to share numbers."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

# A file starts with a tag that identifies its content.
TAG_BYTES = 32
CELL_BYTES = 8

CellReader: TypeAlias = Callable[["memoryview[int]"], tuple[int, ...]]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def tag(*parts: str) -> bytes:
    """Return the tag of a file identified by `parts`, for example its layout, the boot and the owner."""
    return hashlib.sha256("\0".join(parts).encode()).digest()


def boot_id(path: Path = _BOOT_ID) -> str:
    """Return the id of this boot of the machine, or "" if the system has none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def open_locked(path: Path, file_tag: bytes, size: int) -> int:
    """Open the file at `path`; create it with `size` zero bytes, or replace it, unless it has `file_tag`.

    Returns a descriptor that holds an exclusive flock on the file; call `fcntl.flock(fd, LOCK_UN)` after
    initialisation. Creates missing folders. Raises OSError. A file with another tag is replaced, not changed:
    processes that map it keep the old content.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path) and _is_usable(descriptor, path, file_tag, size):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the file is still at `path`: another process may have replaced it before we got the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_usable(descriptor: int, path: Path, file_tag: bytes, size: int) -> bool:
    """Tell whether the file has the tag; initialise an empty file, remove one with another tag."""
    if os.pread(descriptor, TAG_BYTES, 0) == file_tag:
        # It may have been cut, or copied with holes.
        allocate(descriptor, 0, size)
        return True
    if os.fstat(descriptor).st_size == 0:
        allocate(descriptor, 0, size)
        os.pwrite(descriptor, file_tag, 0)
        return True
    path.unlink()
    return False


def allocate(descriptor: int, start: int, length: int) -> None:
    """Allocate disk space for a part of the file, filled with zeros where it is new; raise OSError if it is full.

    Without this, a write to the map would kill the process once the disk is full.
    """
    try:
        os.posix_fallocate(descriptor, start, length)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise
        at, end = os.fstat(descriptor).st_size, start + length
        while at < end:
            # It may write less than it was given, when the disk is nearly full.
            at += os.pwrite(descriptor, bytes(end - at), at)


def cell_reader(*places: int) -> CellReader:
    """Return what reads the integers at these ascending places of a row of them, in this order.

    It takes a fraction of the time that reading them one by one does; each is read atomically, but not all together.
    """
    gaps = (place - before - 1 for before, place in zip((-1, *places), places, strict=False))
    return struct.Struct("".join(f"{gap * CELL_BYTES}xq" for gap in gaps)).unpack_from


def map_cells(descriptor: int, start: int, length: int) -> memoryview[int]:
    """Map `length` bytes of the file, from `start` (a multiple of 64 KiB), as 64-bit integers.

    Each integer is read and written atomically. The map lives as long as a view of it.
    """
    return memoryview(mmap.mmap(descriptor, length, offset=start)).cast("q")
