"""Compares the price book with the package that it is compiled from, and its refusals with the rules for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices
from genai_prices.units import _get_registry  # pyright: ignore[reportPrivateUsage]

from llm_gateway.core.pricing.cost import Cost
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.core.pricing.price_table import price

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = _get_registry().units
# Prices of more digits went through binary fractions: the book has 12 of them, so that a result that is as near to a
# tie as that may be rounded either way.
DUST = Fraction(1, 1000)
AUDIO = [
    unit
    for unit in UNITS.values()
    if unit.dimensions.get("modality") == "audio" and unit.dimensions["family"] == "tokens"
]
# Units that no other contains; a reply mentions tools only if they were used.
OUTERMOST = [
    unit
    for unit in UNITS.values()
    if not _get_registry().ancestor_usage_keys(unit.usage_key)
    and unit.dimensions["family"] not in {"tool_calls", "requests"}
]


def compare(
    book: PriceBook,
    provider: str,
    model: str,
    at: int,
    context: Mapping[str, str],
    quantities: Mapping[str, int | float],
) -> Cost:
    """Assert that the book's cost is the package's, or unknown for a reason that holds; return it."""
    cost = price(book.schedule(provider, model).table(at, context), quantities)
    where = (provider, model, at, context, quantities, cost)
    instant = EPOCH + timedelta(microseconds=at)
    try:
        found, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError as error:
        expected = "unknown_model" if "find model" in str(error) else "unknown_provider"
        assert cost.unknown == expected, where
        return cost
    own = any(info is other for other in found.models)
    prices = {
        key: value
        for key, value in info.get_prices(instant, context if own else None).__dict__.items()
        if value is not None
    }
    if not prices:
        is_free = info.id == "moderation" or (found.id == "openrouter" and info.id.endswith(":free"))
        assert (cost.nano_usd, cost.unknown) == ((0, None) if is_free else (None, "no_price")), where
        return cost
    try:
        their = info.calc_price(
            Usage(**quantities), found, genai_request_timestamp=instant, price_context=context
        )
    except ValueError:
        assert cost.nano_usd is None, where
        assert cost.unknown in {"inconsistent_usage", "unreported_usage", "audio_without_price"}, where
        return cost
    if _is_unreported(prices, quantities, model):
        assert cost.unknown == "unreported_usage", where
    elif _is_audio_unpriced(prices, quantities):
        assert cost.unknown == "audio_without_price", where
    else:
        assert cost.nano_usd is not None, where
        exact = Fraction(their.total_price) * 10**9
        if _has_dust(prices):
            assert abs(cost.nano_usd - exact) <= Fraction(1, 2) + DUST, where
        else:
            # The package divides to 28 digits, which an hour of 3,600 seconds does not fit into.
            nearest = round(exact.limit_denominator(10**15))
            assert cost.nano_usd == nearest, where
        assert sum(nano_usd for _, nano_usd in cost.breakdown.values()) == cost.nano_usd, where
    return cost


def _amounts(price: object) -> list[Decimal]:
    if isinstance(price, TieredPrices):
        return [price.base, *(tier.price for tier in price.tiers)]
    assert isinstance(price, Decimal)
    return [price]


def _has_dust(prices: Mapping[str, object]) -> bool:
    return any(len(amount.as_tuple().digits) > 12 for value in prices.values() for amount in _amounts(value))


def _is_unreported(prices: Mapping[str, object], quantities: Mapping[str, int | float], model: str) -> bool:
    """Tell whether the model is billed by a unit, other than requests and tools, that the reply does not report."""
    charged = {
        unit.usage_key
        for unit in OUTERMOST
        if unit.price_key in prices and any(_amounts(prices[unit.price_key]))
    }
    if any(isinstance(value, TieredPrices) for value in prices.values()):
        charged.add("input_tokens")
    reported = set(quantities)
    if model.startswith("whisper-large-v3") and reported & {"audio_seconds", "input_audio_seconds"}:
        reported.add("audio_seconds")
    return not charged <= reported


def _is_audio_unpriced(prices: Mapping[str, object], quantities: Mapping[str, int | float]) -> bool:
    """Tell whether audio tokens would be billed at a text price."""
    if not any(amount for value in prices.values() for amount in _amounts(value)):
        return False
    priced = [unit for unit in AUDIO if unit.price_key in prices]
    return any(
        quantities.get(unit.usage_key)
        and not any(other.dimensions.items() <= unit.dimensions.items() for other in priced)
        for unit in AUDIO
    )
