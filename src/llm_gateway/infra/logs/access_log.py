"""The access log: a JSON line a request on standard output, written off the request path."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Literal

import msgspec
from loguru import logger

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.logs.line_writer import LineWriter

# A batch is written when this many lines wait, or after this many seconds.
_BATCH = 512
_SECONDS = 0.1
# Lines made before other work gets its turn.
_STEP = 64
# Beyond these lines are dropped and counted.
_MAX_WAITING = 10_000


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
    latency_ms: float
    ttft_ms: float | None
    request_bytes: int
    response_bytes: int


class _Dropped(msgspec.Struct):
    time: str
    dropped: int


class AccessLog:
    """An `Observer` that writes in batches; a slow, full or closed standard output costs lines, not requests.

    Lines that could not be written are counted in `dropped`, and a line `{"time", "dropped"}` says how many
    as soon as there is a way again.
    """

    def __init__(self, mode: Literal["all", "errors", "off"], clock: Clock, file: int = 1) -> None:
        """Write the requests that `mode` names to an open file: `errors` are all that did not end well."""
        self.dropped = 0
        self._mode = mode
        self._clock = clock
        self._stamp = _Stamps()
        # A closed standard output is None, and its number may by now be anybody's.
        self._writer = LineWriter(file) if file != 1 or sys.stdout is not None else None
        self._waiting: list[UsageRecord] = []
        self._told = 0
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._closing = self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start writing."""
        if self._task is None and self._mode != "off":
            self._task = asyncio.create_task(self._run(), name="access-log")

    def finished(self, record: UsageRecord) -> None:
        """Take note of a request."""
        if self._mode != "all" and (
            self._mode == "off" or (record.outcome == "ok" and record.status_code < 400)
        ):
            return
        waiting = len(self._waiting)
        if waiting >= _MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(record)
        if not waiting:
            self._some.set()
        elif waiting == _BATCH:
            self._many.set()

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Leave it: the line comes when the request ends."""

    async def close(self, timeout: float = 2.0) -> None:
        """Write what is left, for at most `timeout` seconds."""
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
            async with asyncio.timeout(_SECONDS):
                await self._many.wait()
        except TimeoutError:
            pass

    async def _write(self, records: list[UsageRecord]) -> None:
        """Write the records' lines; when that fails they are dropped."""
        lines = []
        for number, record in enumerate(records, 1):
            lines.append(to_line(_line(record, self._stamp(record.created_at))))
            if not number % _STEP:
                await asyncio.sleep(0)
        dropped = self.dropped
        if dropped > self._told:
            lines.append(to_line(_Dropped(self._stamp(self._clock.unix_us()), dropped - self._told)))
        if self._writer is None:
            self.dropped += len(records)
            return
        try:
            await self._writer.write(lines)
        except OSError as error:
            self.dropped += len(records)
            if not self._failing:
                logger.warning("Access log lines cannot be written to standard output: {}", error.strerror)
            self._failing = True
            return
        self._failing = False
        self._told = dropped


def _line(record: UsageRecord, time: str) -> _Line:
    return _Line(
        time,
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
        record.latency_ms,
        record.ttft_ms,
        record.request_bytes,
        record.response_bytes,
    )


class _Stamps:
    """Turns Unix microseconds into RFC 3339; most of them share their second with the one before."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, unix_us: int) -> str:
        second, rest = divmod(unix_us, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._text}.{rest // 1000:03d}Z"
