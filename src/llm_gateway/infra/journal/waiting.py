"""Reads what waits in a journal without changing it: for the CSV copy, for metrics and for operators."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from loguru import logger

from llm_gateway.infra.journal import files

# Bytes read at once: several times the longest line.
_CHUNK = 256 * 1024
# How msgspec starts the lines of ended requests, of attempts and of events: the tag comes first.
RECORD, ATTEMPT, EVENT = b'{"t":"end"', b'{"t":"attempt"', b'{"t":"event"'


class _Ended(msgspec.Struct):
    """What a line tells of its time: the start of a request or of an attempt, and how long it took."""

    created_at: int = 0
    started_at: int = 0
    latency_ms: float | None = None


_decode = msgspec.json.Decoder(_Ended).decode


class Waiting(msgspec.Struct):
    """What waits in one journal, or in the files of one process."""

    files: int = 0
    # In bytes.
    size: int = 0
    # Ended requests, failed attempts, and events that clients reported.
    records: int = 0
    attempts: int = 0
    events: int = 0
    # When the request that has waited longest ended, or the event arrived, in Unix microseconds.
    oldest: int | None = None

    def add(self, line: bytes) -> None:
        """Count a line; those of attempts that have begun wait for their end, not for the database."""
        if line.startswith(RECORD):
            self.records += 1
        elif line.startswith(ATTEMPT):
            self.attempts += 1
        elif line.startswith(EVENT):
            self.events += 1
        else:
            return
        ended = ended_at(line)
        if ended is not None and (self.oldest is None or ended < self.oldest):
            self.oldest = ended


def waiting_lines(path: Path, start: int) -> Iterator[tuple[list[bytes], int]]:
    """Yield the whole lines of a file from `start` on, some at a time, with the place behind them; raise OSError."""
    with path.open("rb", buffering=0) as file:
        place = start
        while chunk := os.pread(file.fileno(), _CHUNK, place):
            whole = chunk.rfind(b"\n") + 1
            if not whole:
                # The rest of a line that is being written, or of none.
                return
            place += whole
            yield chunk[:whole].split(b"\n")[:-1], place


def count_waiting(directory: Path, positions: Mapping[str, int]) -> dict[str, Waiting]:
    """Return what waits, by process (incarnation). Reads all of it, which takes seconds for a gigabyte.

    Raises OSError if the folder cannot be read.
    """
    found = {}
    for incarnation, members in files.read_folder(directory).incarnations.items():
        waiting = found[incarnation] = Waiting()
        for file in members:
            start = positions.get(file.name, 0)
            waiting.files += 1
            waiting.size += max(file.size - start, 0)
            try:
                for lines, _ in waiting_lines(directory / file.name, start):
                    for line in lines:
                        waiting.add(line)
            except FileNotFoundError:
                # Shipped meanwhile.
                continue
            except OSError as error:
                logger.warning("Cannot read {}: {}", directory / file.name, error.strerror)
    return found


def oldest_waiting(directory: Path, positions: Mapping[str, int]) -> int | None:
    """Return when the request that has waited longest ended, in Unix microseconds; None if nothing waits.

    It looks at the beginning of what waits in each file, so it takes little time. Raises OSError.
    """
    oldest: list[int] = []
    for file in files.read_folder(directory).files():
        start = positions.get(file.name, 0)
        if file.size <= start:
            continue
        try:
            lines, _ = next(waiting_lines(directory / file.name, start), ([], start))
        except OSError:
            continue
        first = next((line for line in lines if line.startswith((RECORD, ATTEMPT, EVENT))), None)
        if first is not None and (ended := ended_at(first)) is not None:
            oldest.append(ended)
    return min(oldest, default=None)


def ended_at(line: bytes) -> int | None:
    """Return when a request or an attempt ended, or an event arrived, in Unix microseconds; None if unreadable."""
    try:
        ended = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if line.startswith(EVENT):
        # Its latency is its client's word.
        return ended.created_at
    return (ended.created_at or ended.started_at) + round((ended.latency_ms or 0.0) * 1000)
