"""Summaries are exact: the sums of days are the range's, in any time zone and over both clock changes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_gateway.core.calendar import read_zone
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.totals import COUNTS, UsageTotals, key_of
from llm_gateway.flow.ports.usage import SummaryDimension, SummaryQuery
from llm_gateway.flow.usage_summary import DIMENSIONS
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import record

HOUR = 3_600_000_000
ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York")
# Around both changes of the clocks in Berlin.
CHANGES = [
    int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000
    for moment in ("2026-03-29T01:00", "2026-10-25T01:00")
]
OFFSETS = st.builds(
    lambda hours, rest: hours * HOUR + rest,
    st.integers(-60, 60),
    st.one_of(st.sampled_from([0, -1, 1, HOUR // 4, HOUR // 2, HOUR // 2 - 1]), st.integers(0, HOUR - 1)),
)
FACTS = st.builds(
    lambda at, cost, model, tenant, latency, outcome: record(
        "",
        created_at=at,
        cost_nano_usd=cost,
        model=model,
        tenant=tenant,
        latency_ms=latency,
        ttft_ms=latency / 2,
        outcome=outcome,
    ),
    OFFSETS,
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.sampled_from("abc"),
    st.sampled_from([None, "t", "u"]),
    st.floats(0.01, 1e6),
    st.sampled_from(["ok", "ok", "error", "aborted", "rejected"]),
)
BORDERS = st.one_of(st.none(), OFFSETS)


def label(unix_us: int, zone: str, unit: str) -> Any:
    """Say which hour, day or month of local time a moment is in, as an independent calendar does."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_us)).astimezone(read_zone(zone))
    parts = (local.year, local.month, local.day, local.hour, local.utcoffset(), local.minute // 15)
    return parts[: {"month": 2, "day": 3, "hour": 5, "quarter": 6}[unit]]


def totals_of(records: Sequence[UsageRecord]) -> UsageTotals:
    totals = UsageTotals()
    for one in records:
        totals.add(one)
    return totals


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def test_any_summary_is_what_its_rows_add_up_to(url: str | None, data_dir: Path) -> None:
    with asyncio.Runner() as runner:
        opening = opened(url, data_dir, start=False)
        store = runner.run(opening.__aenter__())

        @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(
            st.lists(FACTS, min_size=1, max_size=40),
            st.sampled_from(CHANGES),
            st.sampled_from(ZONES),
            st.sampled_from([None, "quarter", "hour", "day", "month"]),
            st.sets(st.sampled_from(DIMENSIONS)),
            st.tuples(BORDERS, BORDERS),
            st.sampled_from([{}, {"model": "a"}, {"tenant": ""}, {"tenant": "t", "model": "b"}]),
        )
        def check(
            facts: list[UsageRecord],
            change: int,
            zone: str,
            unit: Any,
            dimensions: set[SummaryDimension],
            borders: tuple[int | None, int | None],
            filters: dict[SummaryDimension, str],
        ) -> None:
            since, until = (None if border is None else change + border for border in borders)
            group_by = tuple(name for name in DIMENSIONS if name in dimensions)
            query = SummaryQuery(
                since=since, until=until, group_by=group_by, unit=unit, zone=read_zone(zone), filters=filters
            )
            records = [
                msgspec.structs.replace(one, request_id=f"{number}", created_at=change + one.created_at)
                for number, one in enumerate(facts)
            ]
            runner.run(compare(store, records, query, zone))

        try:
            check()
        finally:
            runner.run(opening.__aexit__(None, None, None))


async def compare(store: Store, records: list[UsageRecord], query: SummaryQuery, zone: str) -> None:
    for table in ("usage", "usage_attempts", "usage_rollups"):
        await store.sql(f"DELETE FROM {table}")
    await store.usage.upsert([to_line(one) for one in records])
    summary = await store.usage.summarize(query)
    wanted = [
        one
        for one in records
        if (query.since is None or one.created_at >= query.since)
        and (query.until is None or one.created_at < query.until)
        and all((getattr(key_of(one), name) or "") == value for name, value in query.filters.items())
    ]
    grouped = defaultdict(list)
    for one in wanted:
        period = None if query.unit is None else label(one.created_at, zone, query.unit)
        grouped[period, tuple(getattr(key_of(one), name) for name in query.group_by)].append(one)
    found = {
        (
            None if group.period is None else label(group.period.start, zone, query.unit or ""),
            group.values,
        ): group.totals
        for group in summary.groups
    }
    assert found.keys() == grouped.keys()
    for key, members in grouped.items():
        expected = totals_of(members)
        assert found[key].counts == expected.counts, key
        assert found[key].latency == expected.latency, key
        assert found[key].first_token == expected.first_token, key
    # The parts are the whole, to the nano-dollar.
    assert summary.total.counts == totals_of(wanted).counts
    for place in range(len(COUNTS)):
        assert sum(group.totals.counts[place] for group in summary.groups) == summary.total.counts[place]
