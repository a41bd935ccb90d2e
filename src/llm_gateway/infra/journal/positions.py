"""How much of each journal file is in the database: written by the shipper, read by workers that wait for a flush."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec
from loguru import logger

_decode = msgspec.json.Decoder(dict[str, int]).decode


class Positions:
    """Bytes stored, by file name, in one small file: a checksum, a space, JSON.

    It is written in place, because a rename over a file can make the file system write to disk at once, which
    takes milliseconds. A torn file fails its checksum and counts as nothing stored: the records are then sent again,
    and the store recognises them.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "shipped"
        self._file = -1
        self._written: dict[str, int] | None = None
        self._failing = False

    def read(self) -> dict[str, int]:
        """Return what was written last; {} if there is nothing, or it is torn."""
        try:
            checksum, _, body = self._path.read_bytes().partition(b" ")
            if int(checksum, 16) == zlib.crc32(body):
                return _decode(body)
        except (OSError, ValueError):
            pass
        return {}

    def write(self, positions: dict[str, int]) -> None:
        """Replace the stored positions. Never raises: on a full disk, the deletions that follow make room."""
        if positions == self._written:
            return
        body = msgspec.json.encode(positions)
        data = b"%08x %b" % (zlib.crc32(body), body)
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
        except OSError as error:
            if not self._failing:
                logger.warning("Cannot write {}: {}", self._path, error.strerror)
            self._failing = True
            return
        self._failing = False
        self._written = positions

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
