"""How stored usage rows and attempts are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, Outcome, UsageRecord


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage rows are meant: all given conditions must match. Times are Unix microseconds."""

    # Inclusive.
    since: int | None = None
    # Exclusive.
    until: int | None = None
    credential: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None


class UsagePlace(msgspec.Struct, frozen=True):
    """A place in the list of usage rows: that of the last row of a page."""

    created_at: int
    request_id: str


class UsageReader(Protocol):
    """Reads stored usage records. May raise StoreUnavailable."""

    async def list(self, wanted: UsageFilter, after: UsagePlace | None, limit: int) -> list[UsageRecord]:
        """Return up to `limit` rows, newest first, that come after `after`."""

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        """Return the attempts of a request, in order."""
