"""What attempts cost by day, credential, model and meter."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.flow.billing.charges import Charge, Charges
from llm_gateway.flow.ports.usage import UsageFilter
from tests.fakes.usage_reader import ListedUsage
from tests.fakes.usage_records import failed_attempt, record

HOUR = 3_600_000_000
# 2025-06-15, 12:00 UTC.
NOON = 1_749_988_800_000_000
UTC = ZoneInfo("UTC")


def priced(number: int, created_at: int = NOON, **changes: Any) -> Any:
    values = {
        "cost_nano_usd": 30, "cost_source": "catalog", "attempts": 1, "credential": "team",
        "upstream_model": "gpt-4o", "cost_breakdown": {"input_tokens": (10, 10), "output_tokens": (5, 20)}, **changes,
    }  # fmt: skip
    return record(f"id-{number:04}", created_at=created_at, **values)


async def charges(*rows: Any, zone: ZoneInfo = UTC, usage: ListedUsage | None = None) -> list[Charge]:
    reader = usage or ListedUsage(*rows)
    return [charge async for charge in Charges(reader, UsageFilter(), zone)]


async def test_requests_of_a_day_are_added_by_meter() -> None:
    found = await charges(priced(1), priced(2, NOON + HOUR))
    assert [(one.meter, one.quantity, one.nano_usd, one.requests) for one in found] == [
        ("input_tokens", 20, 20, 2), ("output_tokens", 10, 40, 2),
    ]  # fmt: skip
    assert {(one.credential, one.provider, one.upstream_model) for one in found} == {
        ("team", "main", "gpt-4o")
    }


async def test_a_cost_that_the_provider_stated_has_one_meter() -> None:
    [charge] = await charges(priced(1, cost_source="provider", cost_breakdown=None, cost_nano_usd=7))
    assert (charge.meter, charge.quantity, charge.nano_usd) == ("total", 1, 7)


async def test_each_attempt_is_charged_by_its_own_provider() -> None:
    reader = ListedUsage(priced(1, attempts=2, cost_nano_usd=50))
    reader.ended["id-0001"] = [
        failed_attempt("id-0001", provider="first", cost_nano_usd=20, cost_source="provider"),
        failed_attempt("id-0001", attempt=2, provider="second", cost_nano_usd=30, cost_source="provider"),
    ]
    found = await charges(usage=reader)
    assert [(one.provider, one.nano_usd) for one in found] == [("first", 20), ("second", 30)]


async def test_a_provider_is_charged_for_the_attempts_that_it_answered_itself() -> None:
    reader = ListedUsage(
        priced(1, attempts=2, cost_nano_usd=50, provider="second"), priced(2, provider="first")
    )
    reader.ended["id-0001"] = [
        failed_attempt("id-0001", provider="first", cost_nano_usd=20, cost_source="provider"),
        failed_attempt("id-0001", attempt=2, provider="second", cost_nano_usd=30, cost_source="provider"),
    ]
    for provider, sums in {"first": [20, 10, 20], "second": [30], "third": []}.items():
        found = [one async for one in Charges(reader, UsageFilter(provider=provider), UTC)]
        assert sorted(one.nano_usd for one in found) == sorted(sums)
        assert {one.provider for one in found} <= {provider}


async def test_tokens_of_rows_from_before_there_were_costs_are_of_unknown_cost() -> None:
    old: dict[str, Any] = {"cost_nano_usd": None, "cost_source": None, "cost_breakdown": None}
    reader = ListedUsage(priced(1, total_tokens=5, **old), priced(2, total_tokens=None, **old))
    every = Charges(reader, UsageFilter(), UTC)
    assert [one async for one in every] == []
    assert every.unpriced == 1


async def test_what_has_no_known_cost_is_counted_and_not_charged() -> None:
    reader = ListedUsage(priced(1, cost_nano_usd=None, cost_source="none", cost_breakdown=None), priced(2))
    every = Charges(reader, UsageFilter(), UTC)
    assert sum([one.nano_usd async for one in every]) == 30
    assert every.unpriced == 1


async def test_a_refused_request_is_not_charged() -> None:
    assert await charges(priced(1, attempts=0, cost_nano_usd=None, cost_source=None)) == []


@pytest.mark.parametrize(
    ("zone", "days"), [("UTC", 2), ("Asia/Kolkata", 1), ("Asia/Kathmandu", 1), ("America/New_York", 2)]
)
async def test_days_are_those_of_the_zone(zone: str, days: int) -> None:
    # 23:30 and 00:30 UTC, and in New York 19:30 and 20:30 of one day: a third request is in the day before.
    found = await charges(
        priced(1, NOON + 11 * HOUR + HOUR // 2),
        priced(2, NOON + 12 * HOUR + HOUR // 2),
        *([priced(3, NOON - 10 * HOUR)] if zone == "America/New_York" else []),
        zone=ZoneInfo(zone),
    )
    assert len({one.day for one in found}) == days
    assert all((one.day.end - one.day.start) == 24 * HOUR for one in found)


@given(
    st.lists(st.tuples(st.integers(0, 60 * 24), st.integers(0, 10**12), st.integers(0, 10**12)), max_size=30)
)
async def test_charges_add_up_to_the_costs_of_the_rows(rows: list[tuple[int, int, int]]) -> None:
    made = [
        priced(
            number,
            NOON + hours * HOUR,
            cost_nano_usd=one + two,
            cost_breakdown={"input_tokens": (1, one), "output_tokens": (1, two)},
        )
        for number, (hours, one, two) in enumerate(rows)
    ]
    found = await charges(*made, zone=ZoneInfo("Europe/Berlin"))
    assert sum(one.nano_usd for one in found) == sum(one + two for _, one, two in rows)
    keys = [(one.day, one.meter) for one in found]
    assert len(keys) == len(set(keys))
