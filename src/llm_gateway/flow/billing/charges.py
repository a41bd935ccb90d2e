"""Adds up what attempts cost by day, credential, model and meter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import tzinfo

import msgspec

from llm_gateway.core.calendar import Period, day_of, month_of
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.billing.charged_attempts import charged_attempts
from llm_gateway.flow.ports.usage import UsageFilter, UsageReader

# The meter of a cost that the provider stated as a whole.
WHOLE = "total"
# Provider, upstream model, meter, credential, tenant, project.
_Key = tuple[str, str, str, str, str | None, str | None]


class Charge(msgspec.Struct):
    """What one credential used of one meter of a model in one day."""

    day: Period
    month: Period
    provider: str
    upstream_model: str
    meter: str
    credential: str
    tenant: str | None
    project: str | None
    quantity: int | float = 0
    nano_usd: int = 0
    requests: int = 0


class Charges:
    """Reads the charges of a range, day by day, and counts the attempts whose cost is unknown."""

    def __init__(self, usage: UsageReader, wanted: UsageFilter, zone: tzinfo) -> None:
        """Days and months are those of `zone`."""
        self._usage = usage
        self._wanted = wanted
        self._zone = zone
        # Attempts that used something of unknown cost: no charge has them.
        self.unpriced = 0

    async def __aiter__(self) -> AsyncIterator[Charge]:
        """Yield the charges, the latest day first; those of one day are in memory. May raise StoreUnavailable."""
        day: Period | None = None
        found: dict[_Key, Charge] = {}
        async for record, attempt in charged_attempts(self._usage, self._wanted):
            if attempt.cost_nano_usd is None:
                self.unpriced += 1
                continue
            if day is None or not day.start <= record.created_at < day.end:
                for key in sorted(found, key=str):
                    yield found[key]
                found.clear()
                day = day_of(record.created_at, self._zone)
            self._add(found, day, record, attempt)
        for key in sorted(found, key=str):
            yield found[key]

    def _add(
        self, found: dict[_Key, Charge], day: Period, record: UsageRecord, attempt: AttemptEnded
    ) -> None:
        meters = attempt.cost_breakdown or {WHOLE: (1, attempt.cost_nano_usd or 0)}
        for meter, (quantity, nano_usd) in meters.items():
            credential = record.credential or ""
            key = (
                attempt.provider, attempt.upstream_model, meter, credential, record.tenant, record.project
            )  # fmt: skip
            charge = found.get(key)
            if charge is None:
                charge = found[key] = Charge(day, month_of(day.start, self._zone), *key)
            charge.quantity += quantity
            charge.nano_usd += nano_usd
            charge.requests += 1
