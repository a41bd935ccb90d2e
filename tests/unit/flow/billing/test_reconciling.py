"""Seeded faults in a bill are all found, and none is invented."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, last_attempt
from llm_gateway.flow.billing.reconciling import (
    AmbiguousPeriod,
    BilledCharge,
    Finding,
    RecordedCharge,
    reconcile,
    record_costs,
)
from tests.fakes.usage_records import record

DAY = 86_400_000_000
START = 20_000 * DAY
CENT = 10_000_000


def row(
    number: int, day: int, model: str, cost: int | None, **changes: Any
) -> tuple[UsageRecord, AttemptEnded]:
    made = record(
        f"id-{number}", created_at=START + day * DAY + number, attempts=1, upstream_model=model, cost_nano_usd=cost,
        cost_source="none" if cost is None else "catalog", **changes,
    )  # fmt: skip
    ended = last_attempt(made)
    assert ended is not None
    return made, ended


async def recorded(rows: Iterable[tuple[UsageRecord, AttemptEnded]]) -> dict[tuple[int, str], RecordedCharge]:
    async def each() -> AsyncIterator[tuple[UsageRecord, AttemptEnded]]:
        for one in rows:
            yield one

    return await record_costs(each(), canonical=str.lower, tools=frozenset({"web_searches"}))


def billed(day: int, model: str, amount: int | Decimal) -> BilledCharge:
    return BilledCharge(START + day * DAY, START + (day + 1) * DAY, model, Decimal(amount))


def compare(
    bill: Iterable[BilledCharge], here: dict[tuple[int, str], RecordedCharge], tolerance: str = "0"
) -> list[Finding]:
    return reconcile(bill, here, canonical=str.lower, tolerance=Decimal(tolerance))


async def test_what_agrees_is_matched() -> None:
    here = await recorded([row(1, 0, "m", 3 * CENT), row(2, 0, "M", 2 * CENT)])
    [finding] = compare([billed(0, "m", 5 * CENT)], here)
    assert (finding.state, finding.day, finding.item) == ("matched", "2024-10-04", "m")
    assert (finding.billed_nano_usd, finding.recorded_nano_usd, finding.difference) == (5 * CENT, 5 * CENT, 0)


async def test_fractions_of_a_nano_are_rounded_once() -> None:
    here = await recorded([row(1, 0, "m", CENT)])
    [finding] = compare([billed(0, "m", Decimal(CENT) / 3) for _ in range(3)], here)
    assert (finding.state, finding.billed_nano_usd) == ("matched", CENT)


async def test_tools_are_apart_as_on_the_bill() -> None:
    breakdown = {"input_tokens": (10, CENT), "web_searches": (1, 2 * CENT)}
    here = await recorded([row(1, 0, "m", 3 * CENT, cost_breakdown=breakdown)])
    findings = compare([billed(0, "m", CENT), billed(0, "web_searches", 2 * CENT)], here)
    assert [(one.item, one.state) for one in findings] == [("m", "matched"), ("web_searches", "matched")]


async def test_attempts_of_unknown_cost_explain_a_gap() -> None:
    here = await recorded([row(1, 0, "m", None), row(2, 0, "m", None)])
    [finding] = compare([billed(0, "m", 5 * CENT)], here)
    assert (finding.state, finding.recorded_nano_usd, finding.unpriced) == ("differs", None, 2)


async def test_attempts_of_unknown_cost_that_no_bill_has_do_not_match_it() -> None:
    [finding] = compare([], await recorded([row(1, 0, "m", None)]))
    assert (finding.state, finding.billed_nano_usd, finding.unpriced) == ("missing_there", None, 1)


async def test_the_tolerance_is_a_share_of_the_larger_amount() -> None:
    here = await recorded([row(1, 0, "m", 99 * CENT)])
    assert [one.state for one in compare([billed(0, "m", 100 * CENT)], here)] == ["differs"]
    assert [one.state for one in compare([billed(0, "m", 100 * CENT)], here, "0.01")] == ["matched"]


def test_a_line_about_several_days_is_refused() -> None:
    with pytest.raises(AmbiguousPeriod, match="not within one day"):
        compare([BilledCharge(START, START + 2 * DAY, "m", Decimal(1))], {})


COSTS = st.integers(CENT, 1000 * CENT)
MODELS = ("m1", "m2", "m3")
ROWS = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from(MODELS)), st.lists(COSTS, min_size=1, max_size=4), min_size=1
)
FAULTS = ("none", "dropped", "doubled", "dearer", "shifted", "unknown here")


@given(ROWS, st.data())
async def test_each_seeded_fault_is_found_and_none_is_invented(
    days: dict[tuple[int, str], list[int]], data: st.DataObject
) -> None:
    rows = []
    bill: list[BilledCharge] = []
    expected: dict[tuple[str, str], str] = {}
    number = 0
    for (day, model), costs in days.items():
        fault = data.draw(st.sampled_from(FAULTS))
        # Days of their own, so that what is shifted meets nothing else.
        day *= 2  # noqa: PLW2901
        total = sum(costs)
        if fault != "unknown here":
            for cost in costs:
                number += 1
                rows.append(row(number, day, model, cost))
        name = row(0, day, model, 1)[0].created_at // DAY
        key = (name, model)
        amounts = {"dropped": [], "doubled": [*costs, *costs], "dearer": [total + CENT]}.get(fault, costs)
        there = day + 1 if fault == "shifted" else day
        bill += [billed(there, model, amount) for amount in amounts]
        state = {
            "dropped": "missing_there", "doubled": "differs", "dearer": "differs", "shifted": "missing_there",
            "unknown here": "missing_here",
        }.get(fault, "matched")  # fmt: skip
        expected[key] = state  # type: ignore[index]
        if fault == "shifted":
            expected[name + 1, model] = "missing_here"  # type: ignore[index]
    findings = compare(bill, await recorded(rows))
    dates = {(START + day * DAY) // DAY: one for day in range(9) for one in [_date(day)]}
    assert {(one.day, one.item): one.state for one in findings} == {
        (dates[day], model): state  # type: ignore[index]
        for (day, model), state in expected.items()
    }


def _date(day: int) -> str:
    [finding] = compare([billed(day, "m", CENT)], {})
    return finding.day


def test_a_finding_is_json() -> None:
    [finding] = compare([billed(0, "m", CENT)], {})
    assert msgspec.json.decode(msgspec.json.encode(finding))["state"] == "missing_here"
