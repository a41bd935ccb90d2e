"""Records are added up under the same keys, whatever came before them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from llm_gateway.core.ledger.rollup_spans import QUARTER, bucket_start
from llm_gateway.core.ledger.totals import UsageKey, UsageTotals, key_of
from llm_gateway.infra.database.usage.rollups import RollupKey, RollupSums
from tests.fakes.usage_records import record

START = 1_790_000_000_000_000


def some_record(chosen: random.Random) -> Any:
    return record(
        "id",
        created_at=START + chosen.randrange(3 * QUARTER),
        outcome=chosen.choice(["ok", "error", "aborted", "interrupted", "rejected"]),
        status_code=chosen.choice([200, 400, 402, 403, 404, 429]),
        credential=chosen.choice([None, "", "me"]),
        tenant=chosen.choice([None, "t" * 600, "t" * 601]),
        model=chosen.choice([None, "m", "n"]),
        latency_ms=chosen.choice([0.0, 0.9, 1.0, 800.125, 2e6]),
        ttft_ms=chosen.choice([None, 3.5]),
        requests=chosen.choice([1, 7]),
        cached_tokens=chosen.choice([None, 0, 5]),
    )


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_those_of_each_record_by_itself(seed: int) -> None:
    chosen = random.Random(seed)
    sums = RollupSums()
    expected: dict[tuple[int, UsageKey], UsageTotals] = {}
    for _ in range(500):
        one, sign = some_record(chosen), chosen.choice([1, 1, -1])
        sums.add(one, sign)
        expected.setdefault((bucket_start(one.created_at, 15), key_of(one)), UsageTotals()).add(one, sign)
    quarters = {key: totals for key, totals in sums.by_key().items() if key.minutes == 15}
    merged: dict[RollupKey, UsageTotals] = {}
    for (quarter, key), totals in expected.items():
        merged.setdefault(RollupKey(15, quarter, *[text or "" for text in key]), UsageTotals()).merge(totals)
    assert quarters.keys() == merged.keys()
    for place, totals in quarters.items():
        assert totals.counts == merged[place].counts
        assert totals.latency == merged[place].latency
        assert totals.first_token == merged[place].first_token


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_many_records_are_those_of_each(seed: int) -> None:
    chosen = random.Random(seed)
    records = [some_record(chosen) for _ in range(800)]
    together, each = RollupSums(), RollupSums()
    together.add_all(records[:300])
    together.add_all(records[300:])
    for one in records:
        each.add(one)
    expected = each.by_key()
    found = together.by_key()
    assert list(found) == list(expected)
    for key, totals in found.items():
        assert totals.counts == expected[key].counts
        assert totals.latency == expected[key].latency
        assert totals.first_token == expected[key].first_token


def test_the_model_of_a_refused_request_counts_only_at_a_limit() -> None:
    sums = RollupSums()
    for status in (404, 429, 404, 200):
        outcome = "ok" if status == 200 else "rejected"
        sums.add(record("id", outcome=outcome, status_code=status, model="m"))
    days = {key.model: totals.counts[0] for key, totals in sums.by_key().items() if key.minutes == 1440}
    assert days == {"": 2, "m": 2}
