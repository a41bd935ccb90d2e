"""What records add up to, and whose it is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from llm_gateway.core.ledger.histogram import bucket_of, encode
from llm_gateway.core.ledger.totals import COUNTS, UsageKey, UsageTotals, key_of
from tests.fakes.usage_records import record


def counted(**changes: Any) -> dict[str, int]:
    totals = UsageTotals()
    totals.add(record("a", **changes))
    return {name: count for name, count in zip(COUNTS, totals.counts, strict=True) if count}


TOKENS = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cost_nano_usd": 7, "cached_tokens": 1}, {"cost_nano_usd": 7, "cached_tokens": 1, **TOKENS}),
        ({"cost_nano_usd": 0, "cache_hit": True}, {"cache_hits": 1, **TOKENS}),
        # A row from before there were costs is not free.
        ({}, {"unpriced": 1, **TOKENS}),
        ({"unpriced": "no_price", "prompt_tokens": None, "completion_tokens": None}, {"unpriced": 1}),
        ({"prompt_tokens": None, "completion_tokens": None}, {}),
        ({"outcome": "error", "cost_nano_usd": 1}, {"errors": 1, "cost_nano_usd": 1, **TOKENS}),
        ({"outcome": "interrupted", "cost_nano_usd": 1}, {"errors": 1, "cost_nano_usd": 1, **TOKENS}),
        ({"outcome": "aborted", "cost_nano_usd": 1}, {"aborted": 1, "cost_nano_usd": 1, **TOKENS}),
    ],
)
def test_a_record_counts_where_it_belongs(changes: dict[str, Any], expected: dict[str, int]) -> None:
    assert counted(**changes) == {"requests": 1, **expected}


def test_a_row_of_several_refused_requests_counts_as_many() -> None:
    assert counted(outcome="rejected", requests=9, prompt_tokens=None, completion_tokens=None) == {
        "requests": 9,
        "refused": 9,
    }


@pytest.mark.parametrize("outcome", ["ok", "error", "aborted", "interrupted", "rejected"])
@pytest.mark.parametrize("seed", range(4))
def test_records_that_are_added_together_count_as_each_by_itself(outcome: str, seed: int) -> None:
    chosen = random.Random(seed)

    def some() -> Any:
        return record(
            "a",
            outcome=outcome,
            cache_hit=seed > 1 and chosen.random() < 0.5,
            requests=chosen.choice([1, 1, 3]) if seed == 3 else 1,
            prompt_tokens=chosen.choice([7] if seed == 2 else [None, 0, 7, 2**70]),
            completion_tokens=chosen.choice([None, 0, 5]),
            cached_tokens=chosen.choice([None, 1]),
            cache_write_tokens=chosen.choice([None, 2]),
            reasoning_tokens=chosen.choice([None, 3]),
            cost_nano_usd=None if seed == 2 else chosen.choice([None, 0, 9]),
            unpriced=chosen.choice([None, "no_price"]),
            latency_ms=chosen.choice([0.0, 0.5, 3.25, 700.0, 2e6] if seed else [1.0, 3.25]),
            ttft_ms=chosen.choice([None, 1.5, 60.0]),
        )

    for number in (1, 3, 4, 50):
        records = [some() for _ in range(number)]
        together, each = UsageTotals(), UsageTotals()
        together.add_alike(records)
        for one in records:
            each.add(one)
        assert together.counts == each.counts
        assert together.latency == each.latency
        assert together.first_token == each.first_token


def test_a_copy_is_equal_and_does_not_change_with_its_original() -> None:
    totals = UsageTotals()
    totals.add(record("a", ttft_ms=3.0))
    copy = totals.copy()
    before = list(totals.counts), dict(totals.latency), dict(totals.first_token)
    assert (copy.counts, copy.latency, copy.first_token) == before
    totals.add(record("b", ttft_ms=3.0))
    assert (copy.counts, copy.latency, copy.first_token) == before


def test_what_is_added_and_taken_away_is_nothing() -> None:
    totals = UsageTotals()
    one = record("a", cost_nano_usd=5, ttft_ms=3.0, outcome="interrupted", cached_tokens=4)
    totals.add(one)
    totals.add(record("b", ttft_ms=3.0))
    totals.add(one, -1)
    other = UsageTotals()
    other.add(record("b", ttft_ms=3.0))
    assert totals.counts == other.counts
    assert encode(totals.first_token) == encode(other.first_token)


def test_times_of_refused_and_interrupted_requests_are_not_counted() -> None:
    totals = UsageTotals()
    for outcome in ("rejected", "interrupted", "ok", "error", "aborted"):
        totals.add(record("a", outcome=outcome, latency_ms=100.0, ttft_ms=None))
    assert totals.latency == {bucket_of(100.0): 3}
    assert totals.first_token == {}


def test_totals_are_merged_however_they_come() -> None:
    one, two = UsageTotals(), UsageTotals()
    one.add(record("a", ttft_ms=1.0, cost_nano_usd=1))
    two.merge(one)
    two.merge_stored(one.counts, encode(one.latency), encode(one.first_token))
    assert two.counts == [count * 2 for count in one.counts]
    assert two.first_token == {bucket_of(1.0): 2}
    assert two.latency == {bucket_of(12.5): 2}


def test_absurd_counts_stop_at_64_bits() -> None:
    totals = UsageTotals()
    for _ in range(3):
        totals.add(record("a", prompt_tokens=2**63 - 1, cost_nano_usd=-(2**63) + 1))
    assert max(totals.storable_counts()) == 2**63 - 1
    assert min(totals.storable_counts()) == 1 - 2**63


def test_a_record_is_its_credentials_tenants_projects_providers_and_models() -> None:
    one = record("a", credential="c", tenant="t", project="p", provider="v", model="m")
    assert key_of(one) == UsageKey("c", "t", "p", "v", "m")


@pytest.mark.parametrize(("status", "model"), [(404, None), (401, None), (400, None), (429, "m"), (402, "m")])
def test_a_model_that_a_refused_request_only_claims_to_exist_has_no_sums(
    status: int, model: str | None
) -> None:
    assert key_of(record("a", outcome="rejected", status_code=status, model="m")).model == model


def test_a_key_fits_an_index_entry() -> None:
    long = "\U0001f600" * 256
    key = key_of(record("a", credential=long, tenant=long, project=long, provider=long, model=long))
    assert sum(len(text.encode()) for text in key if text) <= 2500
    assert key.model == "\U0001f600" * 125
