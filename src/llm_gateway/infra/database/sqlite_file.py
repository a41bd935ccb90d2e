"""Notices that the path of an SQLite database leads to another file than the one that connections have open."""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from llm_gateway.flow.ports.catalog import StoreUnavailable


class ReplacedFile(StoreUnavailable):
    """The file is gone, or another one has its name: what is written now would be lost, what is read is outdated."""


class SqliteFile:
    """The file that the connections of one engine have open, known by its device and inode."""

    __slots__ = ("_known", "_path", "_problem")

    def __init__(self, path: Path) -> None:
        """Watch `path`, which need not exist yet."""
        self._path = path
        self._known: tuple[int, int] | None = None
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return what the last check found wrong, None if nothing."""
        return self._problem

    def opened(self) -> None:
        """Remember the file that the first connection has just opened."""
        if self._known is None:
            self._known = self._look()

    def check(self) -> None:
        """Raise ReplacedFile unless the path leads to the file that was opened first: one `stat`."""
        if self._known is None:
            return
        found = self._look()
        if found == self._known:
            if self._problem is not None:
                logger.info("The SQLite database {} is the file of before again.", self._path)
            self._problem = None
            return
        before, state = self._problem, "is gone" if found is None else "was replaced by another file"
        self._problem = (
            f"The SQLite database {self._path} {state} while the gateway was running. The configuration in force "
            "stays, nothing is read or stored, and usage records wait in DATA_DIR. Put the file of before back, or "
            "restart the gateway to use what is there now (docs/how-to/back-up-and-restore.md)"
        )
        if self._problem != before:
            logger.error("{}", self._problem)
        raise ReplacedFile(self._problem)

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino
