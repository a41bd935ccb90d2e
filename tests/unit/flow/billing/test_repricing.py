"""Stored requests are priced again by the prices in force now, and only what changes is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices, OverridePeriod, PricesInForce
from llm_gateway.core.pricing.price_table import price_table
from llm_gateway.flow.billing.repricing import RepriceReport, reprice
from llm_gateway.flow.ports.usage import CostWriter, Repriced
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.prices import prices_of
from tests.fakes.usage_reader import ListedUsage
from tests.fakes.usage_records import failed_attempt, record

BOOK = shipped_price_book()


def prices(version: str = "new", **amounts: str) -> DeploymentPrices:
    table = price_table(BOOK.units, {name: Decimal(text) for name, text in amounts.items()})
    schedule = BOOK.schedule("openai", "no-such-model")
    return DeploymentPrices(
        schedule, BOOK.version, [OverridePeriod(PricesInForce(table, "override", version))]
    )


DEARER = prices(input_tokens="2", output_tokens="4")
UNKNOWN = DeploymentPrices(BOOK.schedule("openai", "no-such-model"), BOOK.version)


class Writer(CostWriter):
    """Stores what it is told, but for rows that changed meanwhile."""

    def __init__(self, usage: ListedUsage, overtaken: int = 0) -> None:
        self.usage = usage
        self.overtaken = overtaken
        self.stored: list[Repriced] = []

    async def replace(self, changes: Sequence[Repriced]) -> int:
        self.stored += changes[self.overtaken :]
        for change in self.stored:
            at = next(
                i for i, one in enumerate(self.usage.records) if one.request_id == change.record.request_id
            )
            self.usage.records[at] = change.record
            self.usage.ended[change.record.request_id] = change.attempts
        return len(changes) - self.overtaken


def row(number: int = 1, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "attempts": 1, "prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000,
        "cached_tokens": 0, "reasoning_tokens": 0, "cached_in_prompt": True, "cost_nano_usd": 2_000_000_000,
        "cost_source": "catalog", "price_version": "old", **changes,
    }  # fmt: skip
    return record(f"id-{number}", **values)


async def run(
    usage: ListedUsage, found: DeploymentPrices | None, writer: CostWriter | None = None
) -> RepriceReport:
    async def rows() -> AsyncIterator[UsageRecord]:
        for one in [*usage.records]:
            yield one

    return await reprice(usage, rows(), lambda _provider, _model: found, writer)


async def test_what_would_change_is_said_and_nothing_is_stored() -> None:
    usage = ListedUsage(row())
    report = await run(usage, DEARER)
    [model] = report.models
    assert (report.seen, report.changed) == (1, 1)
    assert (model.before_nano_usd, model.after_nano_usd) == (2_000_000_000, 4_000_000_000)


async def test_new_costs_are_stored_with_what_they_are_made_of() -> None:
    usage = ListedUsage(row())
    writer = Writer(usage)
    await run(usage, DEARER, writer)
    [change] = writer.stored
    new = change.record
    assert (new.cost_nano_usd, new.cost_source, new.price_version) == (4_000_000_000, "override", "new")
    assert new.cost_breakdown == {
        "input_tokens": (1_000_000, 2_000_000_000), "output_tokens": (500_000, 2_000_000_000),
    }  # fmt: skip
    unchanged = {"cost_nano_usd", "cost_source", "cost_breakdown", "price_version"}
    before, after = msgspec.structs.asdict(change.before), msgspec.structs.asdict(new)
    assert {name for name in before if before[name] != after[name]} <= unchanged


async def test_the_second_time_nothing_changes() -> None:
    usage = ListedUsage(row(1), row(2, cost_nano_usd=None, cost_source="none", unpriced="unknown_model"))
    first = await run(usage, DEARER, Writer(usage))
    assert (first.changed, first.models[0].newly_priced) == (2, 1)
    assert usage.records[1].unpriced is None
    second = await run(usage, DEARER, Writer(usage))
    assert (second.changed, second.models) == (0, [])


async def test_under_the_same_version_nothing_changes() -> None:
    # Even if the figures are others: they were changed by hand.
    assert (await run(ListedUsage(row(price_version="new")), DEARER)).changed == 0


async def test_a_cost_that_the_provider_stated_stays() -> None:
    assert (await run(ListedUsage(row(cost_source="provider", price_version=None)), DEARER)).changed == 0


async def test_a_price_that_is_not_known_any_more_makes_the_cost_unknown() -> None:
    usage = ListedUsage(row())
    writer = Writer(usage)
    report = await run(usage, UNKNOWN, writer)
    assert report.models[0].newly_unpriced == 1
    new = writer.stored[0].record
    assert (new.cost_nano_usd, new.cost_source, new.unpriced) == (None, "none", "unknown_model")


async def test_what_was_used_beside_tokens_is_priced_as_well() -> None:
    audio = prices(input_tokens="2", output_tokens="4", input_audio_tokens="100")
    usage = ListedUsage(row(quantities={"input_audio_tokens": 1000}))
    writer = Writer(usage)
    await run(usage, audio, writer)
    breakdown = writer.stored[0].record.cost_breakdown
    assert breakdown is not None
    assert breakdown["input_audio_tokens"] == (1000, 100_000_000)
    assert breakdown["input_tokens"][0] == 999_000


@pytest.mark.parametrize(
    ("changes", "found", "counted"),
    [
        ({"cached_in_prompt": None, "cost_nano_usd": None, "cost_source": None}, DEARER, "too_old"),
        ({}, None, "without_provider"),
    ],
)
async def test_what_cannot_be_priced_stays_and_is_counted(
    changes: dict[str, Any], found: DeploymentPrices | None, counted: str
) -> None:
    report = await run(ListedUsage(row(**changes)), found)
    assert (report.changed, getattr(report, counted)) == (0, 1)


async def test_the_cost_of_a_request_is_that_of_all_its_attempts() -> None:
    usage = ListedUsage(row(attempts=2))
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    usage.ended["id-1"] = [
        failed_attempt("id-1", **tokens, cost_nano_usd=1, cost_source="catalog", price_version="old"),
        failed_attempt("id-1", attempt=2, **tokens, cost_nano_usd=5, cost_source="provider"),
    ]
    writer = Writer(usage)
    await run(usage, DEARER, writer)
    [change] = writer.stored
    assert [one.cost_nano_usd for one in change.attempts] == [2_000_000_000, 5]
    assert change.record.cost_nano_usd == 2_000_000_005


async def test_rows_that_changed_meanwhile_are_counted() -> None:
    usage = ListedUsage(row(1), row(2))
    report = await run(usage, DEARER, Writer(usage, overtaken=1))
    assert (report.changed, report.overtaken) == (2, 1)


@pytest.mark.parametrize(("source", "nano_usd"), [("provider", 4_000_000_000), ("counted", 2_000_000_000)])
async def test_the_requested_tier_counts_only_where_the_provider_stated_no_usage(
    source: str, nano_usd: int
) -> None:
    """As it does when the request is priced first: a reply without a tier is of the ordinary one."""
    half = {"input_tokens": "1", "output_tokens": "2"}
    tiered = prices_of({"input_tokens": "2", "output_tokens": "4"}, tiers={"flex": half})
    usage = ListedUsage(row(requested_tier="flex", served_tier=None, usage_source=source, cost_nano_usd=1))
    report = await run(usage, tiered)
    assert [one.after_nano_usd for one in report.models] == [nano_usd]


async def test_a_cost_that_is_not_known_is_no_sum_of_0() -> None:
    was_unknown = row(cost_nano_usd=None, cost_source="none", unpriced="unknown_model")
    [priced] = (await run(ListedUsage(was_unknown), DEARER)).models
    assert (priced.before_nano_usd, priced.after_nano_usd, priced.newly_priced) == (None, 4_000_000_000, 1)
    [lost] = (await run(ListedUsage(row()), UNKNOWN)).models
    assert (lost.before_nano_usd, lost.after_nano_usd, lost.newly_unpriced) == (2_000_000_000, None, 1)
