"""Reads the journals of all processes, live or dead, and remembers how much of them is in the database."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from pathlib import Path

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord, interrupted
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.positions import Positions
from llm_gateway.infra.journal.rejected import RejectedRecords
from llm_gateway.infra.journal.syncing import sync_path
from llm_gateway.infra.json_lines import to_line

# Bytes read at once: several times the longest line. If more is waiting, they are read in a thread.
_CHUNK = 256 * 1024
# How msgspec starts each kind of line: the tag comes first.
_BEGIN = b'{"t":"begin"'
_ENDS = b'{"t":"end"', b'{"t":"attempt"', b'{"t":"event"'
# Nearly every line of a live process is a begin, or starts like this; both are as long, so that one cut serves both.
_END = b'{"t":"end","'
_CUT = len(_BEGIN)

# What the decoders raise for a line that the journal did not write.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(AttemptBegun | AttemptEnded | UsageRecord | TelemetryEvent).decode


class _Tail(msgspec.Struct):
    """How much of one file was read, and how much is in the database, in bytes."""

    file: files.JournalFile
    read: int
    stored: int
    # The attempts of its incarnation without an end so far; None while the process lives.
    begun: dict[str, AttemptBegun] | None = None
    # Has a successor, or its process is dead and everything is collected: once stored, it can be deleted.
    superseded: bool = False
    # All of it was read, and no more will be written.
    done: bool = False
    unreadable: bool = False

    @property
    def complete(self) -> bool:
        """Whether no more will be written to it."""
        return self.superseded or self.begun is not None


class JournalReader:
    """Finds the lines to store: ends of requests and of failed attempts, events. Only the elected shipper uses it.

    Lines are passed on as they are: decoding is left to the store, and would cost more than everything done here.

    `collect` reads further; `commit` says that everything collected is stored. Only then are positions written and
    files deleted, so after a crash in between the same records come again. After an exception, make a new reader.

    Lines of begun attempts are skipped while their process lives, since their ends will come. Once it is dead, what
    is left of its files is read again from the start to find the attempts without an end. They are all there: files
    are deleted oldest first, and only once they have a successor, which repeats the attempts that were open.
    """

    def __init__(self, directory: Path, rejected: RejectedRecords, *, is_synced: bool = False) -> None:
        """Continue where the last reader of `directory` stopped.

        If the journal `is_synced`, a file is deleted once its successor, which repeats attempts of it, is on disk.
        """
        self._directory = directory
        self._is_synced = is_synced
        self._rejected = rejected
        self._positions = Positions(directory)
        self._stored_before = self._positions.read()
        self._tails: dict[str, _Tail] = {}
        # The attempts without an end so far, of each dead incarnation.
        self._begun: dict[str, dict[str, AttemptBegun]] = {}
        # Dead incarnations of which everything was collected.
        self._finished: set[str] = set()

    def positions(self) -> dict[str, int]:
        """Return how many bytes of each file the database has, by file name."""
        return {name: tail.stored for name, tail in self._tails.items()}

    def close(self) -> None:
        self._positions.close()

    async def collect(self, limit: int) -> tuple[list[bytes], bool]:
        """Return about `limit` more lines, and whether there may be more right now.

        `limit` may be exceeded by what one chunk held or one dead process had open. Raises OSError.
        """
        facts: list[bytes] = []
        for incarnation, found in self._look().incarnations.items():
            tails = [self._tails[file.name] for file in found]
            for tail in tails:
                await self._read(tail, facts, limit)
                if len(facts) >= limit:
                    return facts, True
            begun = self._begun.get(incarnation)
            if begun is not None and all(tail.done for tail in tails):
                facts += [to_line(interrupted(attempt)).rstrip() for attempt in begun.values()]
                self._finished.add(incarnation)
        return facts, False

    async def commit(self) -> None:
        """Record that everything collected so far is stored. Raises OSError."""
        for tail in self._tails.values():
            tail.stored = max(tail.stored, tail.read)
            tail.superseded |= tail.file.incarnation in self._finished
        self._positions.write(self.positions())
        for name in [name for name, tail in self._tails.items() if tail.done and tail.superseded]:
            # Deleting a big file takes milliseconds.
            await asyncio.to_thread(self._delete, self._tails[name].file)
            del self._tails[name]
        for incarnation in self._finished:
            files.forget(self._directory, incarnation)
            del self._begun[incarnation]
        self._finished.clear()

    def _delete(self, file: files.JournalFile) -> None:
        if self._is_synced:
            successor = files.journal_path(self._directory, file.incarnation, file.sequence + 1)
            # The process that writes it reports a disk that fails.
            with contextlib.suppress(OSError):
                sync_path(successor)
                sync_path(self._directory)
        (self._directory / file.name).unlink(missing_ok=True)

    def _look(self) -> files.JournalFolder:
        """Read the folder, find dead processes, and update the tails."""
        folder = files.read_folder(self._directory)
        alive = folder.incarnations.keys() - self._begun.keys()
        dead = {incarnation for incarnation in alive if files.is_dead(self._directory, incarnation)}
        if dead:
            # They may have written until just now.
            folder = files.read_folder(self._directory)
        for incarnation in dead:
            if folder.incarnations.get(incarnation):
                self._begun[incarnation] = {}
            else:
                files.forget(self._directory, incarnation)
        tails = {}
        for incarnation, found in folder.incarnations.items():
            for file in found:
                stored = self._stored_before.get(file.name, 0)
                tail = self._tails.get(file.name) or _Tail(file, read=stored, stored=stored)
                tail.file, tail.superseded = file, file is not found[-1]
                tail.begun = self._begun.get(incarnation)
                if incarnation in dead:
                    tail.read, tail.done = 0, False
                tails[file.name] = tail
        self._tails = tails
        return folder

    async def _read(self, tail: _Tail, facts: list[bytes], limit: int) -> None:
        """Read further in one file, up to its last whole line or until there are `limit` lines."""
        if tail.done or tail.unreadable or (tail.read >= tail.file.size and not tail.complete):
            return
        try:
            file = os.open(self._directory / tail.file.name, os.O_RDONLY)
        except OSError as error:
            tail.unreadable = True
            logger.error("Cannot read the journal file {}: {}", tail.file.name, error.strerror)
            return
        try:
            more = True
            while more and len(facts) < limit:
                more = await self._read_chunk(file, tail, facts)
        finally:
            os.close(file)

    async def _read_chunk(self, file: int, tail: _Tail, facts: list[bytes]) -> bool:
        """Take the next whole lines; return whether there may be more right now."""
        # What is already stored is read again only for the begun attempts in it.
        again = tail.read < tail.stored
        size = min(_CHUNK, tail.stored - tail.read) if again else _CHUNK
        if tail.file.size - tail.read > _CHUNK:
            chunk = await asyncio.to_thread(os.pread, file, size, tail.read)
        else:
            chunk = os.pread(file, size, tail.read)
        if not chunk:
            tail.done = tail.complete
            return False
        whole = chunk.rfind(b"\n") + 1
        if not whole:
            if len(chunk) < _CHUNK and not (again or tail.complete):
                return False
            # No line is that long, or it was torn when its process died.
            whole = len(chunk)
        tail.read += whole
        if tail.begun is None:
            self._take_ends(chunk[:whole], tail, facts)
        else:
            self._take_all(chunk[:whole], tail, tail.begun, facts, again=again)
        # The worker also serves requests.
        await asyncio.sleep(0)
        return tail.complete or len(chunk) == size

    def _take_ends(self, chunk: bytes, tail: _Tail, facts: list[bytes]) -> None:
        """Take the ends in a live process' chunk; whether they can be decoded shows when they are stored."""
        # `split` examines every byte, unlike `readlines`; `startswith` takes as long as a cut and two comparisons.
        for line in io.BytesIO(chunk).readlines():
            start = line[:_CUT]
            if start == _BEGIN:
                continue
            whole = line.rstrip(b"\n")
            if start == _END or whole.startswith(_ENDS):
                facts.append(whole)
            elif whole:
                self._rejected.add(
                    tail.file.name, "neither an attempt, nor the end of a request, nor an event", whole
                )

    def _take_all(
        self,
        chunk: bytes,
        tail: _Tail,
        begun: dict[str, AttemptBegun],
        facts: list[bytes],
        *,
        again: bool,
    ) -> None:
        """Take begins and ends in a dead process' chunk; of lines that are read `again`, only the begins."""
        for line in chunk.split(b"\n"):
            if not line:
                continue
            try:
                fact = _decode(line)
            except _UNREADABLE as error:
                if not again:
                    self._rejected.add(tail.file.name, str(error), line)
                continue
            if isinstance(fact, AttemptBegun):
                begun[fact.request_id] = fact
                continue
            if isinstance(fact, UsageRecord):
                begun.pop(fact.request_id, None)
            if not again:
                facts.append(line)
