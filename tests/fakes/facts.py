"""Usage facts, and a usage store in memory that can be away, be slow, and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from llm_gateway.core.records import AttemptBegun, UsageRecord
from llm_gateway.flow.ports.ledger import FactsRefused, UsageStore


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
        **changes,
    }
    return AttemptBegun(**values)


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


class MemoryStore(UsageStore):
    """A usage store in memory, one row a request; a test can take it down, or make it refuse records."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRecord] = {}
        self.calls: list[int] = []
        self.down = False
        self.refuses: Callable[[UsageRecord], bool] = lambda _record: False

    async def upsert(self, facts: Sequence[bytes]) -> None:
        await asyncio.sleep(0)
        self.calls.append(len(facts))
        if self.down:
            raise ConnectionRefusedError("postgresql://user:hunter2@db is away")
        try:
            records = [msgspec.json.decode(fact, type=UsageRecord) for fact in facts]
        except msgspec.DecodeError:
            raise FactsRefused("a fact cannot be read") from None
        if any(map(self.refuses, records)):
            raise FactsRefused("integer out of range")
        for one in records:
            row = self.rows.get(one.request_id)
            if row is None or (row.outcome == "interrupted" and _replaces_interruption(one, row)):
                self.rows[one.request_id] = one


def _replaces_interruption(record: UsageRecord, interrupted: UsageRecord) -> bool:
    return record.outcome != "interrupted" or record.attempts > interrupted.attempts
