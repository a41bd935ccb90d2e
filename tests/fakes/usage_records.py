"""Usage facts, and a usage store in memory that can be away, be slow, and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord, last_attempt
from llm_gateway.core.ledger.served import KnownFacts, ServedRequest, client_facts, known_facts
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.ports.ledger import BackedUpFact, RecordsRejected, UsageBackup, UsageStore


def attempt(request_id: str, **changes: Any) -> AttemptBegun:
    values: dict[str, Any] = {
        "request_id": request_id,
        "created_at": 1_750_000_000_000_000,
        "client_request_id": None,
        "credential": "team",
        "provider": "main",
        "model": "gpt-4o",
        "upstream_model": "gpt-4o-2024-08-06",
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": True,
        "request_bytes": 400,
        "attempts": 1,
        "client_ip": "127.0.0.1",
        "config_version": 3,
        "started_at": 1_750_000_000_000_100,
        **changes,
    }
    return AttemptBegun(**values)


def failed_attempt(request_id: str, **changes: Any) -> AttemptEnded:
    values: dict[str, Any] = {
        "request_id": request_id,
        "attempt": 1,
        "started_at": 1_750_000_000_000_100,
        "provider": "main",
        "model": "gpt-4o",
        "upstream_model": "gpt-4o-2024-08-06",
        "outcome": "error",
        "status": 503,
        "reason": "status",
        "detail": "status 503",
        "next_step": "failover",
        "latency_ms": 2.5,
        **changes,
    }
    return AttemptEnded(**values)


def record(request_id: str, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": request_id,
        "created_at": 1_750_000_000_000_000,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": True,
        "status_code": 200,
        "outcome": "ok",
        "credential": "team",
        "provider": "main",
        "model": "gpt-4o",
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "usage_source": "provider",
        "attempts": 1,
        "latency_ms": 12.5,
        **changes,
    }
    return UsageRecord(**values)


def event(event_id: str, **changes: Any) -> TelemetryEvent:
    values: dict[str, Any] = {
        "event_id": event_id,
        "created_at": 1_750_000_000_000_000,
        "event_type": "llm_request",
        "credential": "team",
        "request_id": "0190-mine",
        "soeid": "ab1234",
        "project": "risk-analysis",
        **changes,
    }
    return TelemetryEvent(**values)


class InMemoryUsageStore(UsageStore):
    """A usage store in memory, a row for each fact; a test can take it down, or make it refuse records."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRecord] = {}
        self.attempts: dict[tuple[str, int], AttemptEnded] = {}
        self.events: dict[str, TelemetryEvent] = {}
        self.calls: list[int] = []
        self.down = False
        self.refuses: Callable[[UsageRecord | AttemptEnded | TelemetryEvent], bool] = lambda _record: False

    async def upsert(self, facts: Sequence[bytes]) -> None:
        await asyncio.sleep(0)
        self.calls.append(len(facts))
        if self.down:
            raise ConnectionRefusedError("postgresql://user:hunter2@db is away")
        try:
            records = [
                msgspec.json.decode(fact, type=UsageRecord | AttemptEnded | TelemetryEvent) for fact in facts
            ]
        except msgspec.DecodeError:
            raise RecordsRejected("a fact cannot be read") from None
        if any(map(self.refuses, records)):
            raise RecordsRejected("integer out of range")
        for one in records:
            if isinstance(one, AttemptEnded):
                self._put_attempt(one)
        for one in records:
            if isinstance(one, UsageRecord):
                self._put_row(one)
            elif isinstance(one, TelemetryEvent):
                self.events.setdefault(one.event_id, one)

    def _put_row(self, record: UsageRecord) -> None:
        row = self.rows.get(record.request_id)
        if row is None or (row.outcome == "interrupted" and _replaces_interruption(record, row)):
            self.rows[record.request_id] = record
        if (attempt := last_attempt(record)) is not None:
            self._put_attempt(attempt)

    def _put_attempt(self, attempt: AttemptEnded) -> None:
        key = attempt.request_id, attempt.attempt
        row = self.attempts.get(key)
        if row is None or (row.outcome == "interrupted" and attempt.outcome != "interrupted"):
            self.attempts[key] = attempt


class InMemoryUsageBackup(UsageBackup):
    """A usage backup in memory, which a test can take down."""

    def __init__(self) -> None:
        self.lines: dict[int, bytes] = {}
        # Numbers of lines that a machine that is gone has left.
        self.left: set[int] = set()
        self.added = 0
        self.down = False

    async def add(self, facts: Sequence[bytes]) -> None:
        await self._answer()
        for fact in facts:
            self.added += 1
            self.lines[self.added] = fact

    async def oldest(self, limit: int) -> list[BackedUpFact]:
        await self._answer()
        return self._lines(self.lines.keys() - self.left, limit)

    async def oldest_of_others(self, limit: int) -> list[BackedUpFact]:
        await self._answer()
        return self._lines(self.lines.keys() & self.left, limit)

    def _lines(self, numbers: AbstractSet[int], limit: int) -> list[BackedUpFact]:
        return [BackedUpFact(number, self.lines[number]) for number in sorted(numbers)[:limit]]

    async def remove(self, numbers: Sequence[int]) -> None:
        await self._answer()
        for number in numbers:
            self.lines.pop(number, None)

    async def count(self) -> int:
        await self._answer()
        return len(self.lines)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise ConnectionRefusedError("postgresql://user:hunter2@backup is away")


def _replaces_interruption(record: UsageRecord, interrupted: UsageRecord) -> bool:
    return record.outcome != "interrupted" or record.attempts > interrupted.attempts


def served(request_id: str) -> ServedRequest:
    """Return a request as it is when it is served directly."""
    client = client_facts(None, "127.0.0.1")
    known = known_facts(
        KnownFacts(
            credential="team",
            tenant=None,
            project=None,
            provider="main",
            model="gpt-4o",
            upstream_model="gpt-4o-2024-08-06",
            endpoint="/v1/chat/completions",
            method="POST",
            stream=False,
            config_version=3,
        )
    )
    assert client is not None
    assert known is not None
    return ServedRequest(
        known, client, request_id, 1_750_000_000_000_000, None, Usage(19, 50, 69), PricedUsage(420, "catalog"), 1500,
        1250, None, 400, 300, None, "main", "gpt-4o", "gpt-4o-2024-08-06", 19, 50, 69, 420, "catalog",
    )  # fmt: skip
