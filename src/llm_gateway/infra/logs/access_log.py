"""The access log: one JSON line per request on standard output, written off the request path."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, cast

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.ledger.served import ServedRequest
from llm_gateway.core.ledger.served_lines import MILLISECONDS, log_line
from llm_gateway.core.money import usd_text
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.infra.json_lines import to_line, truncated
from llm_gateway.infra.logs.escaping import json_line
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE
from llm_gateway.infra.logs.line_writer import LineWriter, has_longer_line

# A batch is written once it has this many lines.
_BATCH = 512
# If a line would be too long for an atomic write, its texts are truncated to the first of these that helps.
_SHORTER = (512, 128, 32)
# Lines encoded before the event loop gets a turn.
_STEP = 64
_encode_lines = msgspec.json.Encoder().encode_lines
_SECOND_US = 1_000_000


class _Line(msgspec.Struct, gc=False):
    time: str
    request_id: str
    client_request_id: str | None
    client_ip: str | None
    method: str
    endpoint: str
    status_code: int
    outcome: str
    error_type: str | None
    credential: str | None
    provider: str | None
    model: str | None
    stream: bool
    attempts: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: str | None
    latency_ms: float
    ttft_ms: float | None
    request_bytes: int
    response_bytes: int


class _Dropped(msgspec.Struct):
    time: str
    dropped: int


class AccessLog(Observer):
    """Writes in batches. A slow, full or closed standard output costs lines, not requests.

    Lines that could not be written are counted in `dropped`; a line `{"time", "dropped"}` reports them as soon
    as writing works again.
    """

    def __init__(
        self,
        mode: Literal["all", "errors", "off"],
        clock: Clock,
        file: int = 1,
        *,
        interval: float = 0.1,
        max_waiting: int = 10_000,
    ) -> None:
        """Write to the open descriptor `file`; `errors` logs the requests that failed or were aborted.

        A batch that is not full is written after `interval` seconds. Beyond `max_waiting` lines are dropped.
        """
        self._interval = interval
        self._max_waiting = max_waiting
        self.dropped = 0
        self._mode = mode
        self._clock = clock
        # Standard output is None if it was closed; its descriptor may belong to another file by now.
        self._writer = LineWriter(file) if file != 1 or sys.stdout is not None else None
        self._waiting: list[UsageRecord | ServedRequest] = []
        self._reported = 0
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._closing = self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None and self._mode != "off":
            self._task = asyncio.create_task(self._run(), name="access-log")

    def finished(self, record: UsageRecord) -> None:
        if self._mode != "all" and (
            self._mode == "off" or (record.outcome == "ok" and record.status_code < 400)
        ):
            return
        waiting = len(self._waiting)
        if waiting >= self._max_waiting:
            self.dropped += 1
            return
        self._waiting.append(record)
        if not waiting:
            self._some.set()
        elif waiting == _BATCH:
            self._many.set()

    def served(self, requests: Sequence[ServedRequest]) -> None:
        if self._mode != "all":
            return
        waiting = self._waiting
        known, room = len(waiting), self._max_waiting - len(waiting)
        if len(requests) > room:
            self.dropped += len(requests) - room
            requests = requests[:room]
        waiting += requests
        if not known:
            self._some.set()
        if len(waiting) > _BATCH >= known:
            self._many.set()

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Do nothing: the line is written when the request ends."""

    async def close(self, timeout: float = 2.0) -> None:
        """Write the remaining lines, for at most `timeout` seconds."""
        self._closing = True
        self._some.set()
        self._many.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=timeout)
            for task in late:
                task.cancel()
            self.dropped += len(self._waiting)
        if self._writer is not None:
            self._writer.stop()

    async def _run(self) -> None:
        while not self._closing or self._waiting:
            await self._some.wait()
            if not self._many.is_set():
                await self._gather()
            self._some.clear()
            self._many.clear()
            records, self._waiting = self._waiting, []
            for start in range(0, len(records), _BATCH):
                await self._write(records[start : start + _BATCH])

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._many.wait()
        except TimeoutError:
            pass

    async def _write(self, records: list[UsageRecord | ServedRequest]) -> None:
        """Write a line for each record; on failure drop them."""
        lines: list[bytes] = []
        for start in range(0, len(records), _STEP):
            if start:
                await asyncio.sleep(0)
            lines.append(_encode(records[start : start + _STEP]))
        dropped = self.dropped
        if dropped > self._reported:
            now = self._clock.unix_us()
            second, text = _second(now)
            lines.append(
                to_line(_Dropped(text + MILLISECONDS[(now - second) // 1000], dropped - self._reported))
            )
        if self._writer is None:
            self.dropped += len(records)
            return
        try:
            await self._writer.write(b"".join(lines))
        except OSError as error:
            self.dropped += len(records)
            if not self._failing:
                logger.warning("Cannot write the access log to standard output: {}", error.strerror)
            self._failing = True
            return
        self._failing = False
        self._reported = dropped


def _encode(records: Sequence[UsageRecord | ServedRequest]) -> bytes:
    """Return the lines of all records, those of one kind in a row together."""
    encoded: list[bytes] = []
    for kind, some in groupby(records, type):
        if kind is ServedRequest:
            encoded.append(_encode_served(cast("Iterable[ServedRequest]", some)))
        else:
            encoded.append(_encode_records(cast("list[UsageRecord]", list(some))))
    return b"".join(encoded)


def _encode_served(requests: Iterable[ServedRequest]) -> bytes:
    """Return the lines of served requests, in the form of `_Line`: nothing in their parts is to be escaped."""
    lines: list[bytes] = []
    second, text = -_SECOND_US, ""
    for request in requests:
        within = request.created_at - second
        if not 0 <= within < _SECOND_US:
            second, text = _second(request.created_at)
            within = request.created_at - second
        lines.append(
            log_line(
                text, within // 1000, request.request_id, request.client.members, request.known.log,
                request.prompt_tokens, request.completion_tokens, request.cost_nano_usd, request.latency_us,
                request.first_token_us, request.request_bytes, request.response_bytes,
            )
        )  # fmt: skip
    return b"".join(lines)


def _encode_records(records: list[UsageRecord]) -> bytes:
    """Return the lines of records: hardly any batch has one that is too long, or a character to be escaped."""
    lines = _lines(records)
    try:
        encoded = _encode_lines(lines)
    except UnicodeEncodeError:
        pass
    else:
        if encoded.isascii() and b"\x7f" not in encoded and not has_longer_line(encoded, LONGEST_LINE):
            return encoded
    return b"".join(map(_safe, lines))


def _safe(line: _Line) -> bytes:
    encoded = json_line(to_line(line))
    for length in _SHORTER:
        if len(encoded) <= LONGEST_LINE:
            break
        encoded = json_line(to_line(truncated(line, length)))
    return encoded


def _lines(records: list[UsageRecord]) -> list[_Line]:
    lines: list[_Line] = []
    second, text = _second(records[0].created_at)
    for record in records:
        within = record.created_at - second
        if not 0 <= within < _SECOND_US:
            second, text = _second(record.created_at)
            within = record.created_at - second
        # By position, in the order of its fields: by name it would take several times as long.
        lines.append(
            _Line(
                text + MILLISECONDS[within // 1000],
                record.request_id,
                record.client_request_id,
                record.client_ip,
                record.method,
                record.endpoint,
                record.status_code,
                record.outcome,
                record.error_type,
                record.credential,
                record.provider,
                record.model,
                record.stream,
                record.attempts,
                record.prompt_tokens,
                record.completion_tokens,
                None if record.cost_nano_usd is None else usd_text(record.cost_nano_usd),
                record.latency_ms,
                record.ttft_ms,
                record.request_bytes,
                record.response_bytes,
            )
        )
    return lines


def _second(unix_us: int) -> tuple[int, str]:
    """Return the beginning of the second in Unix microseconds, and as RFC 3339 without its fraction."""
    second = unix_us // _SECOND_US
    return second * _SECOND_US, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
