"""Rows to add up, and whether the stored rollups are what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.totals import COUNTS, UsageTotals
from llm_gateway.flow.ports.usage import SummaryQuery, UsageFilter
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store
from tests.fakes.usage_records import record

# A midnight in UTC.
START = 1_750_032_000_000_000
MINUTE = 60_000_000


def fact(name: str, minutes: float = 0, **changes: Any) -> UsageRecord:
    values = {"created_at": START + int(minutes * MINUTE), "cost_nano_usd": 5, "ttft_ms": 3.0, **changes}
    return record(name, **values)


async def put(store: Store, *facts: UsageRecord) -> None:
    await store.usage.upsert([to_line(one) for one in facts])


def same(one: UsageTotals, two: UsageTotals) -> bool:
    def clean(histogram: dict[int, int]) -> dict[int, int]:
        return {bucket: count for bucket, count in histogram.items() if count}

    return (
        one.counts == two.counts
        and clean(one.latency) == clean(two.latency)
        and clean(one.first_token) == clean(two.first_token)
    )


def added(records: Sequence[UsageRecord]) -> UsageTotals:
    totals = UsageTotals()
    for one in records:
        totals.add(one)
    return totals


async def check_rollups(store: Store) -> None:
    """Compare the rollups of each size with the rows."""
    rows = await store.usage.list(UsageFilter(), None, 10_000)
    expected = dict(zip(COUNTS, added(rows).counts, strict=True))
    for minutes in (15, 60, 1440):
        sums = ", ".join(f"sum({name})" for name in COUNTS)
        [found] = await store.sql(f"SELECT {sums} FROM usage_rollups WHERE minutes = {minutes}")
        assert dict(zip(COUNTS, map(int, (one or 0 for one in found)), strict=True)) == expected
    assert same((await store.usage.summarize(SummaryQuery())).total, added(rows))
