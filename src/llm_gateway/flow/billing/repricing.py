"""Prices stored requests again, by the prices in force now."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, last_attempt
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.flow.accounting.pricing import NO_COST, added, price_quantities
from llm_gateway.flow.ports.usage import CostWriter, Repriced, UsageReader

# Rows that are changed in one transaction.
_BATCH: Final = 500
_Fact = TypeVar("_Fact", UsageRecord, AttemptEnded)
# Finds the prices of an upstream model at a provider; None if there is no such provider any more.
FindPrices = Callable[[str, str], DeploymentPrices | None]
_COSTS: Final = {
    "cost_nano_usd": "cost_nano_usd",
    "cost_source": "source",
    "unpriced": "unpriced",
    "cost_breakdown": "breakdown",
    "price_version": "price_version",
}


class RepricedModel(msgspec.Struct):
    """What changes for one upstream model at one provider, that of the last attempt.

    Sums are nano-USD of the requests that change and have a known cost; None if none of them has.
    """

    provider: str
    upstream_model: str
    requests: int = 0
    before_nano_usd: int | None = None
    after_nano_usd: int | None = None
    # Requests that had no cost and get one, and those that lose it.
    newly_priced: int = 0
    newly_unpriced: int = 0


class RepriceReport(msgspec.Struct):
    """What repricing changes, and what it leaves."""

    seen: int = 0
    changed: int = 0
    # Requests that changed in the database while they were priced, and stay as they are.
    overtaken: int = 0
    # Requests from before rows held what prices depend on, and those of providers that are gone.
    too_old: int = 0
    without_provider: int = 0
    models: list[RepricedModel] = []


async def reprice(
    usage: UsageReader,
    rows: AsyncIterable[UsageRecord],
    find_prices: FindPrices,
    writer: CostWriter | None = None,
) -> RepriceReport:
    """Price `rows` again; store what changes with `writer`, None only reports it. May raise StoreUnavailable.

    What a provider stated as its cost stays, and so do rows whose prices have the version that they were priced with.
    """
    report = RepriceReport()
    models: dict[tuple[str, str], RepricedModel] = {}
    batch: list[Repriced] = []
    async for record in rows:
        report.seen += 1
        change = await _repriced(usage, record, find_prices, report)
        if change is None:
            continue
        report.changed += 1
        _count(models, change)
        batch.append(change)
        if len(batch) >= _BATCH:
            await _store(batch, writer, report)
    await _store(batch, writer, report)
    report.models = [models[key] for key in sorted(models)]
    return report


async def _store(batch: list[Repriced], writer: CostWriter | None, report: RepriceReport) -> None:
    if writer is not None and batch:
        report.overtaken += len(batch) - await writer.replace(batch)
    batch.clear()


async def _repriced(
    usage: UsageReader, record: UsageRecord, find_prices: FindPrices, report: RepriceReport
) -> Repriced | None:
    last = last_attempt(record)
    if last is None:
        return None
    attempts: Sequence[AttemptEnded] = [last]
    if record.attempts > 1:
        attempts = await usage.attempts(record.request_id)
    total, changed = NO_COST, False
    priced: list[AttemptEnded] = []
    for attempt in attempts:
        cost = _price(record, attempt, find_prices, report)
        if cost is None:
            cost = PricedUsage(**{theirs: getattr(attempt, ours) for ours, theirs in _COSTS.items()})
            priced.append(attempt)
        else:
            changed = True
            priced.append(_with(attempt, cost))
        total = added(total, cost)
    if not changed:
        return None
    return Repriced(record, _with(record, total), tuple(priced))


def _price(
    record: UsageRecord, attempt: AttemptEnded, find_prices: FindPrices, report: RepriceReport
) -> PricedUsage | None:
    """Return the cost of an attempt by the prices in force now; None if it stays as it is."""
    if attempt.cost_source == "provider" or not (attempt.cost_source or attempt.total_tokens):
        return None
    prompt, completion = attempt.prompt_tokens, attempt.completion_tokens
    if prompt is None or completion is None:
        return None
    if record.cached_in_prompt is None:
        # Written when rows did not say which tokens were written to a cache, or were audio.
        report.too_old += 1
        return None
    prices = find_prices(attempt.provider, attempt.upstream_model)
    if prices is None:
        report.without_provider += 1
        return None
    parts = {
        "cache_read_tokens": attempt.cached_tokens,
        "cache_write_tokens": attempt.cache_write_tokens,
        "output_reasoning_tokens": attempt.reasoning_tokens,
    }
    quantities: dict[str, int | float] = {
        "input_tokens": prompt,
        "output_tokens": completion,
        **{unit: count for unit, count in parts.items() if count},
        **(attempt.quantities or {}),
    }
    tier = attempt.served_tier
    if tier is None and attempt.usage_source != "provider":
        # As `price_usage` does: a provider that states the usage names the tier.
        tier = record.requested_tier
    cost = price_quantities(quantities, prices, record.created_at, tier)
    if cost.price_version == attempt.price_version or (
        cost.cost_nano_usd == attempt.cost_nano_usd and cost.source == attempt.cost_source
    ):
        return None
    return cost


def _with(fact: _Fact, cost: PricedUsage) -> _Fact:
    return msgspec.structs.replace(fact, **{ours: getattr(cost, theirs) for ours, theirs in _COSTS.items()})


def _count(models: dict[tuple[str, str], RepricedModel], change: Repriced) -> None:
    key = change.record.provider or "", change.record.upstream_model or ""
    model = models.setdefault(key, RepricedModel(*key))
    before, after = change.before.cost_nano_usd, change.record.cost_nano_usd
    model.requests += 1
    model.before_nano_usd = _sum(model.before_nano_usd, before)
    model.after_nano_usd = _sum(model.after_nano_usd, after)
    model.newly_priced += before is None and after is not None
    model.newly_unpriced += before is not None and after is None


def _sum(known: int | None, more: int | None) -> int | None:
    return known if more is None else (known or 0) + more
