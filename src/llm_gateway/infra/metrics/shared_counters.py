"""Rows of numbers that one process adds to and every process of this boot can read: counters without a call.

A row has a key, a tuple of texts, and a fixed number of cells, all nought at first. Who has the row adds to a cell
with `row[i] += x`: a few operations, where a metrics library's own call takes a lock and a dozen frames. With a
directory the rows lie in a mapped file of their process, where they survive its death, and are there for the others.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from loguru import logger

from llm_gateway.infra.shared_memory import allocate

Key = tuple[str, ...]


class CounterCells(Protocol):
    """The cells of one key."""

    def __getitem__(self, index: int, /) -> float:
        """Return one."""

    def __setitem__(self, index: int, value: float, /) -> None:
        """Store one, in one piece."""


_CELL = 8
# A file grows by this much, which is a multiple of every page size there is.
_CHUNK = 64 * 1024
# Before a row's cells: the bytes of the whole row, stored last of all, and of its key.
_HEAD = struct.Struct("qq")
_encode_key = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(tuple[str, ...]).decode


class SharedCounters:
    """Every row of this process, by key; use it from one thread."""

    def __init__(self, cells: int, directory: Path | None) -> None:
        """Have no row yet; each has `cells` cells. None = nobody else reads them."""
        self._cells = cells
        self._rows: dict[Key, CounterCells] = {}
        self._directory = directory
        self._file = -1
        self._chunk: mmap.mmap
        # Bytes of the file that are mapped, and where in the last chunk the next row goes.
        self._size = 0
        self._next = _CHUNK

    def row(self, key: Key) -> CounterCells:
        """Return the row of `key`."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._new_row(key)
        return row

    def all(self) -> Iterator[tuple[Key, CounterCells]]:
        """Return the rows of every process, several of them with one key."""
        if self._directory is None:
            yield from self._rows.items()
            return
        for path in sorted(self._directory.glob("tallies-*")):
            yield from _read(path.read_bytes(), self._cells)

    def _new_row(self, key: Key) -> CounterCells:
        if self._directory is not None:
            try:
                return self._shared_row(self._directory, _encode_key(key))
            except OSError as fault:
                logger.error("Metrics of {} are not counted: {}.", "/".join(key), fault.strerror)
        return array("d", bytes(self._cells * _CELL))

    def _shared_row(self, directory: Path, key: bytes) -> CounterCells:
        room = -(-len(key) // _CELL) * _CELL
        size = _HEAD.size + room + self._cells * _CELL
        if self._next + size > _CHUNK:
            self._grow(directory)
        chunk = self._chunk
        at, first = self._next, self._next + _HEAD.size
        chunk[first : first + len(key)] = key
        _HEAD.pack_into(chunk, at, 0, len(key))
        # Whoever reads the file meanwhile stops at a row whose size is nought.
        _HEAD.pack_into(chunk, at, size, len(key))
        self._next += size
        return memoryview(chunk)[first + room : at + size].cast("d")

    def _grow(self, directory: Path) -> None:
        if self._file < 0:
            name = f"tallies-{os.getpid()}-{time.monotonic_ns()}"
            self._file = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        allocate(self._file, self._size, _CHUNK)
        self._chunk = mmap.mmap(self._file, _CHUNK, offset=self._size)
        self._size += _CHUNK
        self._next = 0


def _read(data: bytes, cells: int) -> Iterator[tuple[Key, CounterCells]]:
    """Return the rows of one file, chunk by chunk."""
    for start in range(0, len(data), _CHUNK):
        at = start
        while at + _HEAD.size <= start + _CHUNK:
            size, key_size = _HEAD.unpack_from(data, at)
            if not size:
                break
            key = data[at + _HEAD.size : at + _HEAD.size + key_size]
            yield _decode_key(key), memoryview(data)[at + size - cells * _CELL : at + size].cast("d")
            at += size
