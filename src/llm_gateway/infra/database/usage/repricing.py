"""Replaces the costs of stored usage rows, and what was added up of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.usage import CostWriter, Repriced
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import writing
from llm_gateway.infra.database.postings import StoredChange, UsagePosting
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine

_COSTS = ("cost_nano_usd", "cost_source", "unpriced", "cost_breakdown", "price_version")


class CostRepository(CostWriter):
    """The costs in `usage` and `usage_attempts`."""

    def __init__(self, engine: AsyncEngine, postings: Sequence[UsagePosting] = ()) -> None:
        """Each of `postings` is told of the rows in the transaction that changes them."""
        self._engine = engine
        self._postings = tuple(postings)

    async def replace(self, changes: Sequence[Repriced]) -> int:
        usage, attempts = tables.usage, tables.usage_attempts
        stored: list[StoredChange] = []
        async with writing(self._engine) as connection:
            # In the order of their keys, as shippers do: neither waits for the other.
            for change in sorted(changes, key=lambda one: one.record.request_id):
                before = change.before
                updated = await connection.execute(
                    sa.update(usage)
                    .where(
                        usage.c.request_id == before.request_id,
                        usage.c.outcome == before.outcome,
                        usage.c.cost_nano_usd.is_not_distinct_from(before.cost_nano_usd),
                        usage.c.price_version.is_not_distinct_from(before.price_version),
                    )
                    .values(_costs(change.record))
                )
                if not updated.rowcount:
                    continue
                for attempt in change.attempts:
                    await connection.execute(
                        sa.update(attempts)
                        .where(
                            attempts.c.request_id == attempt.request_id, attempts.c.attempt == attempt.attempt
                        )
                        .values(_costs(attempt))
                    )
                stored.append(StoredChange(change.record, before))
            if stored:
                for posting in self._postings:
                    await posting.post(connection, stored)
        return len(stored)


def _costs(fact: UsageRecord | AttemptEnded) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in _COSTS}
