"""A mapped file is made once, replaced when it is strange, and never has holes."""

from __future__ import annotations

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_gateway.infra import shared_memory
from llm_gateway.infra.shared_memory import allocate, boot_id, map_cells, open_locked, tag

_SIZE = 4096


def close(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def test_a_file_is_kept_as_long_as_its_tag_fits(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cells"
    first = open_locked(path, tag("a"), _SIZE)
    cells = map_cells(first, 0, _SIZE)
    cells[9] = -5
    close(first)
    again = open_locked(path, tag("a"), _SIZE)
    assert map_cells(again, 0, _SIZE)[9] == -5
    close(again)
    replaced = open_locked(path, tag("b"), _SIZE)
    assert map_cells(replaced, 0, _SIZE)[9] == 0
    # Who maps the old one still can.
    assert cells[9] == -5
    close(replaced)


@pytest.mark.parametrize("content", [b"\0" * 10, b"x" * 10_000, b"\0" * _SIZE])
def test_a_torn_or_strange_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cells"
    path.write_bytes(content)
    descriptor = open_locked(path, tag("a"), _SIZE)
    assert path.read_bytes() == tag("a") + b"\0" * (_SIZE - 32)
    close(descriptor)


def test_all_who_come_at_once_get_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "cells"
    path.write_bytes(b"strange")

    def look(_: int) -> int:
        descriptor = open_locked(path, tag("a"), _SIZE)
        inode = os.fstat(descriptor).st_ino
        close(descriptor)
        return inode

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(look, range(64))) == {path.stat().st_ino}


def test_tags_differ_by_their_parts() -> None:
    assert len({tag("a", "b"), tag("ab"), tag("b", "a"), tag("a", ""), tag("a")}) == 5
    assert len(tag("a")) == shared_memory.TAG_BYTES


def test_where_room_cannot_be_asked_for_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not on this file system")

    monkeypatch.setattr(os, "posix_fallocate", not_here, raising=False)
    descriptor = os.open(tmp_path / "cells", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"kept")
    allocate(descriptor, 0, 100)
    allocate(descriptor, 0, 50)
    assert (tmp_path / "cells").read_bytes() == b"kept" + b"\0" * 96
    os.close(descriptor)


def test_no_room_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="full"):
        open_locked(tmp_path / "cells", tag("a"), _SIZE)
    monkeypatch.undo()
    # What that left is of use to nobody, and is made anew.
    close(open_locked(tmp_path / "cells", tag("a"), _SIZE))
    assert (tmp_path / "cells").stat().st_size == _SIZE


def test_a_boot_has_one_id(tmp_path: Path) -> None:
    assert boot_id() == boot_id()
    assert not boot_id(tmp_path / "none")


@pytest.mark.parametrize("size", [_SIZE, 40])
def test_a_file_with_holes_or_without_its_end_is_made_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cells"
    close(open_locked(path, tag("a"), _SIZE))
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.write(tag("a"))
        file.truncate(size)
    descriptor = open_locked(path, tag("a"), _SIZE)
    assert os.fstat(descriptor).st_size == _SIZE
    assert os.fstat(descriptor).st_blocks * 512 >= _SIZE
    cells = map_cells(descriptor, 0, _SIZE)
    cells[_SIZE // 8 - 1] = 7
    close(descriptor)


def test_a_short_write_is_continued_until_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not on this file system")

    write, room = os.pwrite, [10, 20, 0]

    def write_some(descriptor: int, data: bytes, at: int) -> int:
        size = room.pop(0)
        if not size:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[:size], at)

    monkeypatch.setattr(os, "posix_fallocate", not_here, raising=False)
    monkeypatch.setattr(os, "pwrite", write_some)
    descriptor = os.open(tmp_path / "cells", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError, match="full"):
        allocate(descriptor, 0, 100)
    assert os.fstat(descriptor).st_size == 30
    os.close(descriptor)
