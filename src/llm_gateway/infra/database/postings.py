"""What follows from stored usage rows, in the transaction that stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection


class StoredChange(msgspec.Struct, frozen=True, gc=False):
    """A usage row that was stored; `before` is the row that it replaced: interrupted, or with another cost."""

    record: UsageRecord
    before: UsageRecord | None = None


class UsagePosting(Protocol):
    """Adds up usage rows elsewhere in the database: rollups, what budgets have spent."""

    async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
        """Add `changes`, at least one, in the transaction of `connection`. What it raises undoes the rows as well.

        Each row is posted once: a row that is shipped again is not. Sort the keys that you lock, so that two machines
        cannot wait for each other.
        """
