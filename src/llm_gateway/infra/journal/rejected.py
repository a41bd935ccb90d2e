"""Sets records aside that cannot be read or that the database rejects, so that they never stop the others."""

from __future__ import annotations

from pathlib import Path

import msgspec
from loguru import logger

# Beyond this they are only counted.
_MAX_BYTES = 16 * 1024 * 1024
# The first ones are logged each, then one in so many.
_SAID_EACH, _SAID_EVERY = 10, 1000


class RejectedRecords:
    """Appends what was set aside to one file, for the operator.

    Each line is JSON: `source` (a journal file, or the database), `why`, `fact` (the line as it was, as text).
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path

    def add(self, source: str, why: str, fact: bytes) -> None:
        """Set one record aside. Never raises."""
        self.count += 1
        line = {"source": source, "why": why, "fact": fact.decode("utf-8", "backslashreplace")}
        try:
            with self._path.open("ab", buffering=0) as file:
                if file.tell() < _MAX_BYTES:
                    file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            logger.warning("Cannot write {}: {}", self._path, error.strerror)
        if self.count <= _SAID_EACH or not self.count % _SAID_EVERY:
            logger.warning(
                "A usage record was set aside in {} ({}: {}), {} so far.", self._path, source, why, self.count
            )
