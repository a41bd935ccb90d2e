"""How far the database has each journal file: written by the shipper, read by whoever waits for a flush."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec
from loguru import logger

_decode = msgspec.json.Decoder(dict[str, int]).decode


class Positions:
    """Bytes stored, by file name, in one small file: a checksum, a space, JSON.

    It is written in place, since a rename over a file can make the file system write to the disk at once,
    which takes milliseconds. What is torn fails its checksum and counts as nothing stored: then records are
    sent again, and the store knows them.
    """

    def __init__(self, directory: Path) -> None:
        """Use the file in `directory`; nothing is read or made yet."""
        self._path = directory / "shipped"
        self._file = -1
        self._kept: dict[str, int] | None = None
        self._failing = False

    def read(self) -> dict[str, int]:
        """Return what was written last; {} when there is nothing, or nothing whole."""
        try:
            checksum, _, body = self._path.read_bytes().partition(b" ")
            if int(checksum, 16) == zlib.crc32(body):
                return _decode(body)
        except (OSError, ValueError):
            pass
        return {}

    def write(self, positions: dict[str, int]) -> None:
        """Replace what is there. Never raises: the room that deletions will make may be what is missing."""
        if positions == self._kept:
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
        self._kept = positions

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
