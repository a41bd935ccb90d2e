"""Finds what ended in every process' journal, live or dead, and remembers how far the database has it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord, interrupted
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.positions import Positions
from llm_gateway.infra.journal.rejected import RejectedFacts
from llm_gateway.infra.json_lines import to_line

# Bytes read at once, several times the longest line; when more is waiting they are read in a thread.
_CHUNK = 256 * 1024
# How msgspec starts each kind of line: the tag comes first.
_BEGIN = b'{"t":"begin"'
_ENDS = b'{"t":"end"', b'{"t":"attempt"'

# What the decoders raise for a line that is none of ours.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_decode = msgspec.json.Decoder(AttemptBegun | AttemptEnded | UsageRecord).decode


class _Tail(msgspec.Struct):
    """How far one file was read, and how far the database has it, in bytes."""

    file: files.FactsFile
    read: int
    stored: int
    # The attempts of its incarnation without an end so far; None while the process lives.
    begun: dict[str, AttemptBegun] | None = None
    # Has a successor, or its process is dead and all is collected: it can go once it is stored.
    superseded: bool = False
    # All of it was read, and no more will be written.
    done: bool = False
    unreadable: bool = False

    @property
    def complete(self) -> bool:
        """Whether no more will be written to it."""
        return self.superseded or self.begun is not None


class JournalReader:
    """Finds the lines that end requests; used by one process at a time, the elected shipper.

    They are handed on as they are: what is in them is the store's affair, and decoding would cost more than
    anything else that is done here.

    `collect` reads on, `commit` says that all which was collected is stored: only then are positions kept
    and files deleted, so that after a crash in between the same records come again. After an exception make
    a new reader.

    A live process' attempts are skipped, since their ends will come. Once it is dead, what is left of its
    files is read again from the start to find the attempts without an end. They are all there: a file is
    deleted only when it has a successor, which repeats the attempts that were open, and oldest first.
    """

    def __init__(self, directory: Path, rejected: RejectedFacts) -> None:
        """Go on where the last reader of `directory` had stopped."""
        self._directory = directory
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
        """Let go of the file of positions."""
        self._positions.close()

    async def collect(self, limit: int) -> tuple[list[bytes], bool]:
        """Return about `limit` more lines of usage records, and whether there may be more to read at once.

        There may be more than `limit`, by what one chunk held or one dead process had open. Raises OSError.
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
        """Take note that everything collected so far is stored. Raises OSError."""
        for tail in self._tails.values():
            tail.stored = max(tail.stored, tail.read)
            tail.superseded |= tail.file.incarnation in self._finished
        self._positions.write(self.positions())
        for name in [name for name, tail in self._tails.items() if tail.done and tail.superseded]:
            # Giving back the memory of a big file takes milliseconds.
            await asyncio.to_thread((self._directory / name).unlink, missing_ok=True)
            del self._tails[name]
        for incarnation in self._finished:
            files.forget(self._directory, incarnation)
            del self._begun[incarnation]
        self._finished.clear()

    def _look(self) -> files.Folder:
        """Read the folder, find out who died, and bring the tails up to date."""
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
        """Read on in one file up to its last whole line, or until there are `limit` facts."""
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
        """Take the next whole lines; tell whether there may be more now."""
        # What is stored already is read again only for the attempts in it.
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
        # The worker serves requests, too.
        await asyncio.sleep(0)
        return tail.complete or len(chunk) == size

    def _take_ends(self, chunk: bytes, tail: _Tail, facts: list[bytes]) -> None:
        """Take what ended in a live process; whether it can be read shows when it is stored."""
        for line in chunk.split(b"\n"):
            if line.startswith(_ENDS):
                facts.append(line)
            elif line and not line.startswith(_BEGIN):
                self._rejected.add(tail.file.name, "neither an attempt nor the end of a request", line)

    def _take_all(
        self,
        chunk: bytes,
        tail: _Tail,
        begun: dict[str, AttemptBegun],
        facts: list[bytes],
        *,
        again: bool,
    ) -> None:
        """Take what began and ended in a dead process; of lines that are read `again` only what began."""
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
