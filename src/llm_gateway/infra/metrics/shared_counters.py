"""Counters that one process adds to and every process of this boot can read, without a function call.

A counter has a key, which is a tuple of strings, and a fixed number of cells that start at zero. Its owner adds to a
cell with `cells[i] += x`: a few operations, where the call of a metrics library takes a lock and a dozen frames. With
a directory, the cells lie in a mapped file of their process: other processes read it, and it survives a crash.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from array import array
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
        *,
        allocate: Callable[[int, int, int], None] = allocate,
    ) -> None:
        """Each key has `cells` cells. Without a directory, no other process reads them."""
        self._cells_per_key = cells
        self._cells: dict[Key, CounterCells] = {}
        self._directory = directory
        self._allocate = allocate
        self._file = -1
        self._chunk: mmap.mmap
        # Bytes of the file that are mapped, and the place in the last chunk for the next key.
        self._size = 0
        self._next = CHUNK

    def cells(self, key: Key) -> CounterCells:
        """Return the cells of `key`, made on first use."""
        cells = self._cells.get(key)
        if cells is None:
            cells = self._cells[key] = self._make_cells(key)
        return cells

    def all(self) -> Iterator[tuple[Key, CounterCells]]:
        """Return the cells of every process; one key may come several times."""
        if self._directory is None:
            yield from self._cells.items()
            return
        for path in sorted(self._directory.glob("counters-*")):
            yield from _read(path.read_bytes(), self._cells_per_key)

    def _make_cells(self, key: Key) -> CounterCells:
        if self._directory is not None:
            try:
                return self._make_shared_cells(self._directory, _encode_key(key))
            except OSError as error:
                logger.error("Metrics labelled {} are not counted: {}.", "/".join(key), error.strerror)
        return array("d", bytes(self._cells_per_key * _CELL))

    def _make_shared_cells(self, directory: Path, key: bytes) -> CounterCells:
        room = -(-len(key) // _CELL) * _CELL
        size = _HEAD.size + room + self._cells_per_key * _CELL
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
        if self._file < 0:
            name = f"counters-{os.getpid()}-{time.monotonic_ns()}"
            self._file = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._allocate(self._file, self._size, CHUNK)
        self._chunk = mmap.mmap(self._file, CHUNK, offset=self._size)
        self._size += CHUNK
        self._next = 0


def _read(data: bytes, cells: int) -> Iterator[tuple[Key, CounterCells]]:
    for start in range(0, len(data), CHUNK):
        at = start
        while at + _HEAD.size <= start + CHUNK:
            size, key_size = _HEAD.unpack_from(data, at)
            if not size:
                break
            key = data[at + _HEAD.size : at + _HEAD.size + key_size]
            yield _decode_key(key), memoryview(data)[at + size - cells * _CELL : at + size].cast("d")
            at += size
