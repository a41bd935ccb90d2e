"""The journal: a record survives a crash of the process as soon as the call that writes it returns."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord
from llm_gateway.core.ledger.served import ServedRequest, SettledRequest
from llm_gateway.core.ledger.telemetry import TelemetryEvent, are_bounded
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import EventJournal, Journal, OnKept
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.syncing import JournalSync
from llm_gateway.infra.json_lines import MAX_LINE, NEWLINE, encode_into, to_line
from llm_gateway.sockets.write_batch import WriteBatch

# Seconds before a journal that failed is tried again.
_PAUSE_SECONDS = 0.1
_NEARLY_FULL = 0.8
# Bytes of records after which none waits any longer; and the seconds that one waits at most.
_MOST_WAITING = MAX_LINE
_LONGEST_WAIT = 0.1

# Calls something after so many seconds, as event loops do.
CallLater = Callable[[float, Callable[[], None]], object]
_State = Literal["well", "nearly full", "full", "failing"]


class FileJournal(Journal, EventJournal):
    """A journal of append-only files, written by one process.

    Each record is one line of JSON, written before the call returns: the page cache keeps it when the process is
    killed. Only what is sent with a batch of writes waits for it, or for the next record, because a system call takes
    longer than all else here. When the machine loses power, the records that were not synced are
    lost. A new file is started every few megabytes, so that shipped files can be deleted. It begins with the attempts
    that are still open, so that no older file is needed for them.

    Nothing here raises or waits for space: records that cannot be written are counted in `lost`, and every change
    of state is logged once. Create it in the process that uses it, and use it from one thread.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        clock: Clock,
        *,
        sync: JournalSync | None = None,
        syncs_ends: bool = False,
        batch: WriteBatch | None = None,
        reaches_clients: bool = False,
        call_later: CallLater | None = None,
    ) -> None:
        """Open a new file in `directory`; the files of all processes together may take `max_bytes`.

        The bound is checked once per megabyte, so each process may exceed it by that much. Without `sync`, nothing
        is synced. With `syncs_ends`, `end` returns once its record is on disk, which blocks the event loop meanwhile.
        `batch` makes the writes to upstreams, and those to clients if it `reaches_clients`; without it, no record
        waits. `call_later` sees to it that none waits for longer than 100 ms.
        """
        self.lost = 0
        self._sync = sync
        self._syncs_ends = syncs_ends
        self._directory = directory
        self._max_bytes = max_bytes
        # 128 idle workers' files take half of the room at most.
        self._file_bytes = min(max(max_bytes // 256, MAX_LINE), 8 * 1024 * 1024)
        self._grant = min(max_bytes // 64, 1024 * 1024)
        self._clock = clock
        self._incarnation = ""
        self._lock = self._file = -1
        self._sequence = 0
        # The attempts that have not ended, by request id; bytes are their lines.
        self._open: dict[str, AttemptBegun | bytes] = {}
        # Lines being written, whose memory serves the next ones.
        self._line = bytearray()
        # Those that wait, how many bytes they are, the requests that end with them, and who asks for that.
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._ending: list[str] = []
        self._on_kept: list[tuple[OnKept, SettledRequest]] = []
        self._begins_wait = batch is not None
        self._ends_wait = reaches_clients and not syncs_ends
        self._call_later = call_later
        self._is_timed = False
        if batch is not None:
            batch.before = self.write_waiting
        # Bytes at our file's start that repeat open attempts.
        self._carried = 0
        # Bytes that may be written before anything has to be looked at again.
        self._room = 0
        self._retry_at = 0.0
        self._state: _State = "well"
        self._lost_when_well = 0
        self._make_room(0)

    def begin(self, attempt: AttemptBegun) -> None:
        self._open[attempt.request_id] = attempt
        self._append(attempt)
        if self._sync is not None:
            self._sync.written()

    def begin_with_writes(self, attempt: AttemptBegun) -> None:
        if self._begins_wait:
            self._open[attempt.request_id] = attempt
            self._keep_for_writes(attempt)
        else:
            self.begin(attempt)

    def begin_known(self, request_id: str, line: bytes) -> None:
        if self._begins_wait:
            self._open[request_id] = line
            self._waiting.append(line)
            size = self._waiting_size = self._waiting_size + len(line)
            if size > _MOST_WAITING:
                self.write_waiting()
        else:
            Journal.begin_known(self, request_id, line)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def write_waiting(self) -> None:
        if not self._waiting:
            return
        self._write_waiting()
        if self._sync is not None:
            self._sync.written()

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        self._append(attempt)
        if self._sync is not None:
            self._sync.written()

    def end(self, record: UsageRecord) -> None:
        self._append(record)
        # Only now: should the file change before this line, the new one has to repeat the attempt, or a kill
        # between the two would leave no trace of it.
        self._open.pop(record.request_id, None)
        if self._sync is not None and self._file >= 0:
            if self._syncs_ends:
                self._sync.sync_now()
            else:
                self._sync.written()

    def end_with_writes(self, record: UsageRecord, on_kept: OnKept | None = None) -> None:
        if self._ends_wait:
            # Its attempt is open until it is written, as in `end`.
            self._ending.append(record.request_id)
            if on_kept is not None:
                self._on_kept.append((on_kept, record))
            self._keep_for_writes(record)
            if not self._is_timed:
                self._set_timer()
        else:
            Journal.end_with_writes(self, record, on_kept)

    def end_served(self, served: ServedRequest, line: bytes, on_kept: OnKept | None = None) -> None:
        if self._ends_wait:
            self._ending.append(served.request_id)
            if on_kept is not None:
                self._on_kept.append((on_kept, served))
            self._waiting.append(line)
            size = self._waiting_size = self._waiting_size + len(line)
            if size > _MOST_WAITING:
                self.write_waiting()
            if not self._is_timed:
                self._set_timer()
        else:
            Journal.end_served(self, served, line, on_kept)

    def event(self, event: TelemetryEvent) -> None:
        if event.attributes is not None and not are_bounded(event.attributes):
            event = msgspec.structs.replace(event, attributes=None)
        self._append(event)
        if self._sync is not None:
            self._sync.written()

    @property
    def sync_failures(self) -> int:
        """How often a sync has failed."""
        return 0 if self._sync is None else self._sync.failures

    def close(self) -> None:
        """Close the files: attempts that are still open become interrupted. A later record opens a new file."""
        self.write_waiting()
        if self._sync is not None:
            self._file = -1
            self._sync.close()
        self._close_file()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
        self._room = self._sequence = 0
        self._open.clear()

    def _append(self, record: msgspec.Struct) -> None:
        """Write a record, after those that wait."""
        line = self._line
        try:
            encode_into(record, line)
            line.append(NEWLINE)
            size = len(line)
        except UnicodeEncodeError:
            size = MAX_LINE + 1
        if size > MAX_LINE:
            line[:] = to_line(record)
        if self._waiting:
            self._waiting.append(bytes(line))
            self._write_waiting()
        else:
            self._write(line, 1)

    def _set_timer(self) -> None:
        """See to it that nothing waits for too long: a client may be gone, so that nothing is written to it."""
        if self._call_later is not None:
            self._is_timed = True
            self._call_later(_LONGEST_WAIT, self._on_time)

    def _on_time(self) -> None:
        self._is_timed = False
        self.write_waiting()

    def _keep_for_writes(self, record: msgspec.Struct) -> None:
        line = to_line(record)
        self._waiting.append(line)
        size = self._waiting_size = self._waiting_size + len(line)
        if size > _MOST_WAITING:
            self.write_waiting()

    def _write_waiting(self) -> None:
        lines = self._waiting
        try:
            self._write(b"".join(lines), len(lines))
        except Exception:  # noqa: BLE001 - a bug, which must not hold up all writes of the process
            self.lost += len(lines)
            logger.exception("Cannot write to the journal in {}", self._directory)
        self._waiting, self._waiting_size = [], 0
        if self._ending:
            for request_id in self._ending:
                self._open.pop(request_id, None)
            self._ending.clear()
        if self._on_kept:
            kept, self._on_kept = self._on_kept, []
            for on_kept, record in kept:
                try:
                    on_kept(record)
                except Exception:  # noqa: BLE001 - a bug, which must not hold up the others
                    logger.exception("Cannot settle request {}", record.request_id)

    def _write(self, lines: bytes | bytearray, count: int) -> None:
        """Write so many records, or lose them."""
        size = len(lines)
        if size > self._room and not self._make_room(size):
            self.lost += count
            return
        try:
            written = os.write(self._file, lines)
            if written != size:
                self._take_back(written)
        except OSError as error:
            self.lost += count
            self._fail(error)
            return
        self._room -= written
        if self._state == "failing":
            self._report("well")

    def _take_back(self, written: int) -> None:
        """Cut off the half line of a write that met the end of the disk."""
        try:
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
        except OSError:
            # The next line goes to a new file; the reader sets the half line aside.
            self._close_file()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _make_room(self, need: int) -> bool:
        """Look at our file, at the folder and at the limit; tell whether `need` bytes may be written now."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        try:
            if self._file >= 0 and not os.fstat(self._file).st_nlink:
                self._forget_files()
            if self._file < 0:
                self._start()
            used = files.used_bytes(self._directory)
            fresh = os.fstat(self._file).st_size - self._carried
            # What is repeated at a file's start must not make files change all the time.
            left = max(self._file_bytes, self._carried) - fresh
            full = used + need > self._max_bytes
            # When it is full, what was shipped of our own file can only go once there is a new one.
            if left <= 0 or (full and fresh):
                self._next_file()
                left = self._file_bytes
        except OSError as error:
            self._fail(error)
            return False
        if full:
            self._retry_at = now + _PAUSE_SECONDS
            self._report("full")
            return False
        if self._state != "failing":
            self._report("nearly full" if used > _NEARLY_FULL * self._max_bytes else "well")
        self._room = max(need, min(self._grant, self._max_bytes - used, left))
        return True

    def _forget_files(self) -> None:
        """Let go of files that somebody has deleted: nobody would ever read them."""
        logger.error(
            "The journal in {} was deleted while it was in use: usage records are lost. A new one is begun.",
            self._directory,
        )
        self._close_file()
        os.close(self._lock)
        self._lock = -1

    def _close_file(self) -> None:
        if self._file >= 0:
            if self._sync is None:
                os.close(self._file)
            else:
                self._sync.dropped()
        self._file = -1

    def _start(self) -> None:
        if self._lock < 0:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._incarnation, self._lock = files.start_incarnation(self._directory, self._clock.unix_us())
        self._next_file()

    def _next_file(self) -> None:
        """Move on to a new file. It gets its name, which says that the old one is complete, last of all."""
        sequence = self._sequence + 1
        unfinished = files.journal_path(self._directory, self._incarnation, sequence, finished=False)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        file = os.open(unfinished, flags, 0o600)
        try:
            carried = b"".join(one if isinstance(one, bytes) else to_line(one) for one in self._open.values())
            _write_all(file, carried)
            unfinished.rename(files.journal_path(self._directory, self._incarnation, sequence))
        except OSError:
            os.close(file)
            unfinished.unlink(missing_ok=True)
            raise
        self._close_file()
        self._file, self._sequence, self._carried = file, sequence, len(carried)
        if self._sync is not None:
            # The first file may have made the folder, too.
            self._sync.opened(file, self._directory, *(self._directory.parents[:2] if sequence == 1 else ()))

    def _fail(self, error: OSError) -> None:
        self._room = 0
        self._retry_at = self._clock.monotonic() + _PAUSE_SECONDS
        self._report("failing", error.strerror or type(error).__name__)

    def _report(self, state: _State, why: str = "") -> None:
        if state == self._state:
            return
        limit = f"{self._max_bytes} bytes (JOURNAL_MAX_BYTES)"
        if state == "failing":
            logger.error(
                "Cannot write to the journal in {}: {}. Usage records are being lost.", self._directory, why
            )
        elif state == "full":
            logger.error(
                "The journal in {} is full at {}: usage records are being lost.", self._directory, limit
            )
        elif state == "nearly full" and self._state == "well":
            logger.warning(
                "The journal in {} has passed {:.0%} of {}: is the database up?",
                *(self._directory, _NEARLY_FULL, limit),
            )
        else:
            lost = self.lost - self._lost_when_well
            logger.info("The journal in {} has room again; {} records were lost.", self._directory, lost)
        if state in {"well", "nearly full"}:
            self._lost_when_well = self.lost
        self._state = state


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
