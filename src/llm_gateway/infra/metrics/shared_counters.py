"""Counters that one process adds to and every process of this boot can read, without a function call.

A counter has a key, which is a tuple of strings, and a fixed number of cells that start at zero. Its owner adds to a
cell with `cells[i] += x`: a few operations, where the call of a metrics library takes a lock and a dozen frames. With
a directory, the cells lie in a mapped file of their process: other processes read it, and it survives a crash. Its
space on the disk is allocated before it is mapped: a write to a map that has none would kill the process. Where that
fails, this process counts in its own memory.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from loguru import logger

from llm_gateway.infra.shared_memory import allocate

Key = tuple[str, ...]


class CounterCells(Protocol):
    """The cells of one key."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, value: float, /) -> None:
        """Store the value in a single write, so that a reader never sees half of it."""


_CELL = 8
# A file grows by this many bytes, a multiple of every page size.
CHUNK = 64 * 1024
# A file with more holds tens of thousands of keys, or was not written here.
_LARGEST = 64 * 1024 * 1024
# Precedes the cells of a key: the bytes of the whole entry, written last, and of its key.
_HEAD = struct.Struct("qq")
_encode_key = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(tuple[str, ...]).decode


class SharedCounters:
    """The counters of this process, by key. Use it from one thread."""

    def __init__(
        self,
        cells: int,
        directory: Path | None,
        name: str = "counters",
        *,
        allocate: Callable[[int, int, int], None] = allocate,
    ) -> None:
        """Each key has `cells` cells. Without a directory, no other process reads them.

        Processes read the files of those that have the same `directory` and `name`.
        """
        self._cells_per_key = cells
        self._cells: dict[Key, CounterCells] = {}
        self._directory = directory
        self._name = name
        self._allocate = allocate
        self._is_failing = False
        self._file = -1
        self._path: Path | None = None
        self._chunk: mmap.mmap
        # Bytes of the file that are mapped, and the place in the last chunk for the next key.
        self._size = 0
        self._next = CHUNK
        # How many files of other processes the last call of `all` could not read to their end.
        self.unreadable = 0

    def cells(self, key: Key) -> CounterCells:
        """Return the cells of `key`, made on first use. Never raises OSError."""
        cells = self._cells.get(key)
        if cells is None:
            cells = self._cells[key] = self._make_cells(key)
        return cells

    def own(self) -> list[tuple[Key, CounterCells]]:
        """Return the cells of this process."""
        return list(self._cells.items())

    def all(self) -> Iterator[tuple[Key, CounterCells]]:
        """Return the cells of every process; one key may come several times. Any thread may call it."""
        yield from self.own()
        unreadable = 0
        for path in sorted(self._directory.glob(f"{self._name}-*")) if self._directory is not None else ():
            if path == self._path:
                continue
            found: list[tuple[Key, CounterCells]] = []
            try:
                _read(_bytes_of(path), self._cells_per_key, found)
            except FileNotFoundError:
                # Its worker has exited, and its file was removed.
                continue
            except (OSError, ValueError):
                unreadable += 1
            yield from found
        self.unreadable = unreadable

    def _make_cells(self, key: Key) -> CounterCells:
        if self._directory is not None:
            try:
                cells = self._make_shared_cells(self._directory, _encode_key(key))
            except (OSError, ValueError) as error:
                if not self._is_failing:
                    reason = (isinstance(error, OSError) and error.strerror) or error
                    logger.error("Some metrics of this worker are not shared with the others: {}.", reason)
                self._is_failing = True
            else:
                self._is_failing = False
                return cells
        # A list: adding to an item of an array takes twice as long.
        return [0.0] * self._cells_per_key

    def _make_shared_cells(self, directory: Path, key: bytes) -> CounterCells:
        room = -(-len(key) // _CELL) * _CELL
        size = _HEAD.size + room + self._cells_per_key * _CELL
        if size > CHUNK:
            message = "the labels are too long"
            raise ValueError(message)
        if self._next + size > CHUNK:
            self._grow(directory)
        chunk = self._chunk
        at, first = self._next, self._next + _HEAD.size
        chunk[first : first + len(key)] = key
        _HEAD.pack_into(chunk, at, 0, len(key))
        # A reader stops at an entry whose size is zero: until this line it does not exist.
        _HEAD.pack_into(chunk, at, size, len(key))
        self._next += size
        return memoryview(chunk)[first + room : at + size].cast("d")

    def _grow(self, directory: Path) -> None:
        if self._file >= 0:
            self._map_chunk(self._file)
            return
        name = f"{self._name}-{os.getpid()}-{time.monotonic_ns()}"
        # Other processes see the file once it has its first chunk.
        unfinished = directory / f"new-{name}"
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._map_chunk(file)
            unfinished.rename(directory / name)
        except BaseException:
            os.close(file)
            self._size, self._next = 0, CHUNK
            unfinished.unlink(missing_ok=True)
            raise
        self._file, self._path = file, directory / name

    def _map_chunk(self, file: int) -> None:
        self._allocate(file, self._size, CHUNK)
        self._chunk = mmap.mmap(file, CHUNK, offset=self._size)
        self._size += CHUNK
        self._next = 0


def _bytes_of(path: Path) -> bytes:
    """Return what a regular file of a possible size holds: others may never end. Raises OSError, ValueError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
        message = "no process wrote this file"
        raise ValueError(message)
    return path.read_bytes()


def _read(data: bytes, cells: int, found: list[tuple[Key, CounterCells]]) -> None:
    """Append the entries of a file to `found`; raise ValueError at the first one that no process wrote."""
    for start in range(0, len(data), CHUNK):
        at, end = start, min(start + CHUNK, len(data))
        while at + _HEAD.size <= end:
            size, key_size = _HEAD.unpack_from(data, at)
            if not size:
                break
            first = at + _HEAD.size
            values = at + size - cells * _CELL
            if size % _CELL or key_size < 0 or not first + key_size <= values <= at + size <= end:
                message = "an entry is larger than its file"
                raise ValueError(message)
            # A msgspec.DecodeError is a ValueError, as is a UnicodeDecodeError.
            key = _decode_key(data[first : first + key_size])
            found.append((key, memoryview(data)[values : at + size].cast("d")))
            at += size
    if not data or len(data) % CHUNK:
        message = "the file is empty or cut"
        raise ValueError(message)
