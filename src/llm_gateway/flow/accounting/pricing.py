"""Prices what a request used: from token counts and a deployment to a cost, or the reason why it is not known."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import AttemptEnded, Breakdown
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.pricing.cost import Quantities, UnknownCost
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.flat_price import flat_amount, flat_breakdown
from llm_gateway.core.pricing.price_table import price
from llm_gateway.core.pricing.tier_context import tier_context

# A service tier is a word; what is longer is none.
_LONGEST_TIER: Final = 64


# Nothing is known to have been used.
NO_COST: Final = PricedUsage()
# No provider was paid for the reply.
FREE: Final = PricedUsage(0, "catalog")


def price_usage(  # noqa: C901, PLR0912 - see below
    usage: Usage, deployment: Deployment, created_at: int, requested_tier: str | None = None
) -> PricedUsage:
    """Return the cost of `usage` at `deployment`, by the prices at `created_at` (Unix microseconds).

    What the provider itself says that it cost wins; then there is no breakdown. `requested_tier` counts where the
    provider did not state the usage: a reply that states it names the service tier, unless that is the ordinary one.
    """
    details, prices = usage.details, deployment.prices
    breakdown: Breakdown
    if details is None:
        if not usage.total_tokens:
            return NO_COST
        if prices is not None and (requested_tier is None or usage.source == "provider"):
            # Nearly every request, so what follows has no frames of its own.
            plain = prices.plain
            if plain is not None and not (
                usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens
            ):
                prompt, completion = usage.prompt_tokens, usage.completion_tokens
                if 0 < prompt <= plain.most_input and completion > 0:
                    # As `flat_amount` and `flat_breakdown` do for more than nothing; so does `DirectMeter`.
                    of_input, of_output = prompt * plain.input, completion * plain.output
                    breakdown = {"input_tokens": (prompt, of_input), "output_tokens": (completion, of_output)}
                    return PricedUsage(of_input + of_output, plain.source, None, breakdown, plain.version)
            in_force = prices.ordinary
            if in_force is not None:
                flat = in_force.table.flat
                if flat is None:
                    if in_force.table.unknown is not None:
                        return _unpriced(in_force.table.unknown, in_force.version)
                elif not (usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens):
                    prompt, completion = usage.prompt_tokens, usage.completion_tokens
                    if 0 <= prompt <= flat.most_input and completion >= 0:
                        amount = flat_amount(flat, prompt, completion)
                        breakdown = flat_breakdown(flat, prompt, completion, amount)
                        return PricedUsage(amount, in_force.source, None, breakdown, in_force.version)
    else:
        if details.cost_nano_usd is not None:
            return PricedUsage(details.cost_nano_usd, "provider")
        if not (usage.total_tokens or any(details.quantities.values())):
            return NO_COST
    if prices is None:
        return _NO_PRICE_BOOK
    tier = None if details is None else details.served_tier
    if tier is None and usage.source != "provider":
        tier = requested_tier
    return price_quantities(quantities_of(usage), prices, created_at, tier)


@lru_cache(maxsize=1024)
def _unpriced(reason: UnknownCost, version: str) -> PricedUsage:
    return PricedUsage(None, "none", reason, None, version)


def price_quantities(
    quantities: Quantities, prices: DeploymentPrices, created_at: int, tier: str | None = None
) -> PricedUsage:
    """Return the cost of `quantities`, by the names of units, in a service tier."""
    in_force = prices.at(created_at) if tier is None else prices.at(created_at, tier_context(tier))
    cost = price(in_force.table, quantities)
    # By position, which is several times as fast as by name.
    if cost.nano_usd is None:
        return PricedUsage(None, "none", cost.unknown, None, in_force.version)
    return PricedUsage(cost.nano_usd, in_force.source, None, cost.breakdown, in_force.version)


_NO_PRICE_BOOK: Final = PricedUsage(None, "none", "unknown_provider")


def quantities_of(usage: Usage) -> dict[str, int | float]:
    """Return how much was used, by the names of units; each includes its parts."""
    quantities: dict[str, int | float] = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
    }
    # 0 means that the provider stated none, and a unit that is not stated is part of what contains it.
    if usage.cached_tokens:
        quantities["cache_read_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens:
        quantities["cache_write_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        quantities["output_reasoning_tokens"] = usage.reasoning_tokens
    if usage.details is not None:
        quantities.update(usage.details.quantities)
    return quantities


def added(earlier: PricedUsage, last: PricedUsage) -> PricedUsage:
    """Return the cost of two attempts of one request.

    It is unknown if one of them is. Source and version are those of the last attempt that used something. There is a
    breakdown only if it adds up to the cost.
    """
    if earlier.source is None:
        return last
    if last.source is None:
        return earlier
    if earlier.cost_nano_usd is None or last.cost_nano_usd is None:
        reason = last.unpriced or earlier.unpriced
        return PricedUsage(None, "none", reason, None, last.price_version or earlier.price_version)
    return PricedUsage(
        earlier.cost_nano_usd + last.cost_nano_usd,
        last.source,
        None,
        _merged(earlier.breakdown, last.breakdown),
        last.price_version or earlier.price_version,
    )


def _merged(first: Breakdown | None, second: Breakdown | None) -> Breakdown | None:
    if first is None or second is None:
        return None
    merged = dict(first)
    for unit, (count, nano_usd) in second.items():
        known_count, known_nano_usd = merged.get(unit, (0, 0))
        merged[unit] = (known_count + count, known_nano_usd + nano_usd)
    return merged


def with_usage(ended: AttemptEnded, usage: Usage, cost: PricedUsage) -> AttemptEnded:
    """Return an attempt with what its provider stated, and what that cost."""
    return msgspec.structs.replace(
        with_cost(ended, cost),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=usage.source,
        cache_write_tokens=usage.cache_write_tokens,
        served_tier=None if usage.details is None else usage.details.served_tier,
        quantities=None if usage.details is None else usage.details.quantities or None,
    )


def with_cost(ended: AttemptEnded, cost: PricedUsage) -> AttemptEnded:
    return msgspec.structs.replace(
        ended,
        cost_nano_usd=cost.cost_nano_usd,
        cost_source=cost.source,
        unpriced=cost.unpriced,
        cost_breakdown=cost.breakdown,
        price_version=cost.price_version,
    )


def requested_tier_of(raw: msgspec.Raw) -> str | None:
    """Return the service tier that a request's field asks for, None if it is no word."""
    try:
        tier = msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return tier if 0 < len(tier) <= _LONGEST_TIER and tier.isprintable() else None
