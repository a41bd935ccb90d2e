"""A readable copy, as CSV, of the usage records and events that no database has taken yet."""

from __future__ import annotations

import csv
import io
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.core.money import usd_text
from llm_gateway.core.times import iso_time
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.waiting import EVENT, RECORD, waiting_lines

FILE_NAME = "telemetry.csv"
_MAX_BYTES = 16 * 1024 * 1024
# Rows that one update adds at most, so that it takes a fraction of a second.
_MAX_ROWS = 5000
# Beyond it, what is no time is shown as the number that it is.
_LAST_TIME = 9000 * 365 * 86_400 * 1_000_000 - 1970 * 366 * 86_400 * 1_000_000
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MONEY = {"cost_nano_usd": "cost_usd"}
# An attempt's, not the request's.
_LEFT_OUT = frozenset({"attempt_started_at"})
_RECORD_COLUMNS = tuple(name for name in UsageRecord.__struct_fields__ if name not in _LEFT_OUT)
# What only events have. A row with an `event_type` is an event, not a request.
_EVENT_COLUMNS = ("event_type", "event_id", "source_ip", "target_service", "attributes")
COLUMNS = (*_RECORD_COLUMNS, *_EVENT_COLUMNS)

_decode = msgspec.json.Decoder(UsageRecord | TelemetryEvent).decode
_encode = msgspec.json.Encoder().encode


def _csv(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode("utf-8", "replace")


HEADER = _csv([_MONEY.get(name, name) for name in COLUMNS])
_FULL = _csv(["# More records wait than this file may hold: see `llm-gateway usage spool`"])


class CsvCopy:
    """Copies ended requests and events from a journal to `telemetry.csv`, for as long as no database takes them.

    Each version of the file is complete and replaces the one before, so it can be read at any time. The journal stays
    the truth: nothing is read back from the copy. A folder that cannot be written is one warning in each outage.
    Calls read and write files, so make them in a thread; they exclude each other.
    """

    def __init__(self, directory: Path, folder: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        """Copy the journal in `directory` to `folder`; a file of `max_bytes` ends with a line that says so."""
        self.path = folder / FILE_NAME
        # Whether there is a copy, and it has what waited at the last update.
        self.is_written = False
        self._directory = directory
        self._max_bytes = max_bytes
        # How much of each journal file this process has copied.
        self._copied: dict[str, int] = {}
        self._is_full = False
        self._is_failing = False
        # Whether there is no copy, not even one of a killed process.
        self.is_tidy = False
        self._lock: int | None = None
        # A call may still run in its thread when whoever made it was cancelled.
        self._calls = threading.Lock()

    def update(self, positions: Mapping[str, int]) -> None:
        """Add the rows that are missing; `positions` says how much of each file a database has. Never raises."""
        with self._calls:
            self.is_tidy = False
            try:
                if self._take_folder():
                    self._add_rows(positions)
                    self.is_written = self.path.exists()
            except OSError as error:
                self.is_written = False
                self._fail(error.strerror or type(error).__name__)

    def remove_shipped(self, positions: Mapping[str, int]) -> None:
        """Delete the copy once a database has all of it, and one that a killed process has left. Never raises."""
        with self._calls:
            if not self._is_shipped(positions):
                return
            try:
                if self.path.exists() and self._is_ours() and self._take_folder():
                    self.path.unlink()
            except OSError as error:
                self._fail(error.strerror or type(error).__name__)
            self._copied, self._is_full, self.is_written, self._is_failing = {}, False, False, False
            self.is_tidy = True
            self._leave_folder()

    def close(self) -> None:
        """Leave the folder to another process."""
        with self._calls:
            self._leave_folder()

    def _leave_folder(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_folder(self) -> bool:
        """Return whether this process alone writes to the folder."""
        if self._lock is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = files.try_lock(self.path.with_name(f".{FILE_NAME}.lock"))
            if self._lock is None:
                self._fail("another gateway writes to it; give each its own CSV_FALLBACK_DIR")
        return self._lock is not None

    def _add_rows(self, positions: Mapping[str, int]) -> None:
        is_new = not (self._copied and self.path.exists())
        if is_new:
            if self.path.exists() and not self._is_ours():
                self._set_aside()
            self._copied, self._is_full = {}, False
        if self._is_full:
            return
        copied, rows = dict(self._copied), list[bytes]()
        for file in files.read_folder(self._directory).files():
            place = max(copied.get(file.name, 0), positions.get(file.name, 0))
            if file.size > place and len(rows) < _MAX_ROWS:
                copied[file.name] = self._read(file, place, rows)
        if rows:
            self._write(rows, is_new=is_new)
            self._copied = copied

    def _read(self, file: files.JournalFile, place: int, rows: list[bytes]) -> int:
        try:
            for lines, behind in waiting_lines(self._directory / file.name, place):
                rows += [row for line in lines if (row := _row(line)) is not None]
                place = behind
                if len(rows) >= _MAX_ROWS:
                    break
        except FileNotFoundError:
            # Shipped meanwhile.
            pass
        return place

    def _write(self, rows: list[bytes], *, is_new: bool) -> None:
        """Replace the file by one that has the rows, too."""
        unfinished = self.path.with_name(f".{FILE_NAME}.new")
        try:
            if is_new:
                size = 0
                unfinished.write_bytes(HEADER)
            else:
                shutil.copyfile(self.path, unfinished)
            unfinished.chmod(0o600)
            with unfinished.open("ab") as file:
                size = file.tell()
                for row in rows:
                    if size + len(row) > self._max_bytes:
                        file.write(_FULL)
                        self._is_full = True
                        break
                    file.write(row)
                    size += len(row)
            unfinished.replace(self.path)
        except OSError:
            self._is_full = False
            unfinished.unlink(missing_ok=True)
            raise

    def _is_shipped(self, positions: Mapping[str, int]) -> bool:
        return all(
            positions.get(name, 0) >= place or not (self._directory / name).exists()
            for name, place in self._copied.items()
        )

    def _is_ours(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(HEADER)) == HEADER

    def _set_aside(self) -> None:
        """Keep a file that another program has written."""
        kept = self.path.with_name(f"telemetry-{self.path.stat().st_mtime_ns}.csv")
        self.path.rename(kept)
        logger.warning(
            "{} is not a copy of this gateway's usage records: it is {} now.", self.path, kept.name
        )

    def _fail(self, why: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning(
                "Cannot write {}: {}. The usage records are safe in {}; set CSV_FALLBACK_DIR to a folder that the"
                " gateway may write to, or to off.",
                *(self.path, why, self._directory),
            )


def _row(line: bytes) -> bytes | None:
    """Return a line of the journal as a row; None unless it is the end of a request, or an event."""
    if not line.startswith((RECORD, EVENT)):
        return None
    try:
        fact = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The shipper sets it aside.
        return None
    return _csv([_cell(name, getattr(fact, name, None)) for name in COLUMNS])


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - a field's value
    text = _shown(name, value)
    return "'" + text if text.startswith(_FORMULA) else text


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - a field's value
    if value is None:
        return ""
    if name in _MONEY:
        return usd_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _encode(value).decode()
    if name == "created_at" and 0 <= value < _LAST_TIME:
        return iso_time(value)
    return str(value)
