"""Files of 64-bit integers that the processes of one machine map, to see one another's numbers at once."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from pathlib import Path

# A file starts with the tag that says what it is.
TAG_BYTES = 32
CELL_BYTES = 8

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def tag(*parts: str) -> bytes:
    """Return the tag of a file that is about `parts` (a layout, a boot, whose numbers)."""
    return hashlib.sha256("\0".join(parts).encode()).digest()


def boot_id() -> str:
    """Return what names this boot of the machine, or "" where that cannot be had."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def open_locked(path: Path, file_tag: bytes, size: int) -> int:
    """Open the file at `path`, made anew with `size` bytes of nought unless it bears `file_tag`.

    Returns a descriptor that holds the file's exclusive flock: `fcntl.flock(fd, LOCK_UN)` when the first
    look at it is done. Folders are made. Raises OSError. A file with another tag is replaced, not changed:
    who maps it goes on with what it has.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path) and _bears(descriptor, path, file_tag, size):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether nobody replaced the file while we waited for its lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _bears(descriptor: int, path: Path, file_tag: bytes, size: int) -> bool:
    """Tell whether the file is of use, tagging an empty one and removing a strange one."""
    if os.pread(descriptor, TAG_BYTES, 0) == file_tag:
        return True
    if os.fstat(descriptor).st_size == 0:
        allocate(descriptor, 0, size)
        os.pwrite(descriptor, file_tag, 0)
        return True
    path.unlink()
    return False


def allocate(descriptor: int, start: int, length: int) -> None:
    """Give a part of the file its room on disk, as noughts where it is new; OSError when there is none.

    A map with a hole would kill the process on a full disk.
    """
    try:
        os.posix_fallocate(descriptor, start, length)
    except (AttributeError, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise
        missing = start + length - os.fstat(descriptor).st_size
        if missing > 0:
            os.pwrite(descriptor, bytes(missing), start + length - missing)


def map_cells(descriptor: int, start: int, length: int) -> memoryview[int]:
    """Return `length` bytes of the file from `start` on (a multiple of 64 KiB) as integers.

    Each is read and stored in one piece. The map lasts as long as a view of it does.
    """
    return memoryview(mmap.mmap(descriptor, length, offset=start)).cast("q")
