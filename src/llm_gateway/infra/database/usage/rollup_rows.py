"""Reads the usage rows of a range as records that can be added up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import sqlalchemy as sa

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.facts.reading import read_fact
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

_NEEDED = (
    *("request_id", "created_at", "status_code", "outcome", "requests", "cache_hit"),
    *("credential", "tenant", "project", "provider", "model"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_nano_usd", "unpriced", "latency_ms", "ttft_ms"),
)
# What no sum needs.
_REST: Final[dict[str, Any]] = {"endpoint": "", "method": "", "stream": False}
# So few at a time that requests do not notice.
_AT_ONCE: Final = 100


async def records_between(connection: AsyncConnection, start: int, end: int) -> AsyncIterator[UsageRecord]:
    """Yield the records that began from `start` to before `end`, with the fields that are added up."""
    usage = tables.usage.c
    statement = sa.select(*(usage[name] for name in _NEEDED)).where(
        usage.created_at >= start, usage.created_at < end
    )
    async with connection.stream(statement) as rows:
        async for part in rows.partitions(_AT_ONCE):
            for row in part:
                yield read_fact(row._asdict() | _REST, UsageRecord)
            await asyncio.sleep(0)
