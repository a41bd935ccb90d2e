"""The prices of one model at one time as integers, and the cost of a request by them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Any, Final

import msgspec

from llm_gateway.core.money import NANO_USD
from llm_gateway.core.pricing.cost import Cost, Quantities, UnknownCost, unknown_cost
from llm_gateway.core.pricing.flat_price import FlatPrice, flat_price
from llm_gateway.core.pricing.units import REQUESTS, UnitSet

_INPUT: Final = "input_tokens"
_OUTPUT: Final = "output_tokens"
_AUDIO_SECONDS: Final = ("audio_seconds", "input_audio_seconds")
_HIGHEST: Final = 1_000_000_000
_DECIMALS: Final = 18
_INFINITY: Final = float("inf")


class TieredPrice(msgspec.Struct, frozen=True):
    """A price that depends on the total of input tokens.

    `tiers` are pairs of a total and the price of every unit of a request whose total is above it; `base` is the price
    if it is above none.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...]

    def at(self, total: int) -> Decimal:
        """Return the price for a request with `total` input tokens."""
        price = self.base
        for start, tier_price in sorted(self.tiers):
            if total > start:
                price = tier_price
        return price


# USD per `Unit.per`, by the names of units.
Prices = Mapping[str, Decimal | TieredPrice]
# A unit's name, its numerator per one (the denominator is the table's), and the lines of the priced units that are
# parts of it.
_Line = tuple[str, int, tuple[int, ...]]


class InvalidPrices(ValueError):
    """Prices by which the cost of some request would not be defined."""


class PriceTable(msgspec.Struct, frozen=True):
    """The prices of a model at one time, made by `price_table`.

    A unit is billed at its quantity minus those of its parts that have prices; a part without a price is billed as
    what contains it. `bands` has the lines by the total of input tokens that they apply above, ascending; units come
    after their parts. Lines and `request` (the price of a request) are nano-USD times `denominator`, so that sums are
    exact and rounded once. `unknown` is the reason why there are no prices.
    """

    unknown: UnknownCost | None = None
    bands: tuple[tuple[int, tuple[_Line, ...]], ...] = ()
    denominator: int = 1
    request: int = 0
    # Units that a reply must report.
    required: tuple[str, ...] = ()
    # Units that a reply must not report at all, or not without others. Most replies report none of them.
    unusual: frozenset[str] = frozenset()
    # Those of them that are audio without a price.
    unpriced_audio: frozenset[str] = frozenset()
    # The input or the output tokens, if only the other ones have a price.
    unpriced_side: str | None = None
    # Units that need not be reported, unless one of the parts is, or both of a pair that intersects in the unit.
    optional: tuple[tuple[str, frozenset[str], tuple[tuple[str, str], ...]], ...] = ()
    least_audio_seconds: int = 0
    # By which `price` of input and output tokens alone can be computed directly; None = it cannot.
    flat: FlatPrice | None = None


def unknown_price(reason: UnknownCost) -> PriceTable:
    """Return the table of a model whose prices are not known."""
    return PriceTable(unknown=reason)


def price_table(
    units: UnitSet, prices: Prices, least_audio_seconds: int = 0, *, is_free_if_absent: bool = True
) -> PriceTable:
    """Return the table of `prices`; without any, the cost is unknown. A price of 0 is a price.

    Audio shorter than `least_audio_seconds` is billed as that. If only input or only output tokens have a price, the
    others are free, unless that is not meant (`is_free_if_absent`): then the cost of a request that uses them is
    unknown. Raises InvalidPrices.
    """
    check_prices(units, prices)
    if not prices:
        return unknown_price("no_price")
    # A unit has more dimensions than what contains it, so this puts parts first.
    names = sorted(prices.keys() - {REQUESTS}, key=lambda name: (-len(units[name].dimensions), name))
    starts = {
        start for price in prices.values() if isinstance(price, TieredPrice) for start, _ in price.tiers
    }
    rates = {
        start: [_nano_usd(prices[name], start + 1) / units[name].per for name in names]
        for start in (-1, *sorted(starts))
    }
    request = _nano_usd(prices[REQUESTS], 0) / units[REQUESTS].per if REQUESTS in prices else Fraction(0)
    denominator = lcm(request.denominator, *(rate.denominator for band in rates.values() for rate in band))
    parts = [tuple(index for index, part in enumerate(names) if part in units.parts[name]) for name in names]
    bands = tuple(
        (start, tuple(zip(names, (int(rate * denominator) for rate in band), parts, strict=True)))
        for start, band in rates.items()
    )
    charged = {name for index, name in enumerate(names) if any(band[index] for band in rates.values())}
    unpriced_side = None if is_free_if_absent else _unpriced_side(prices)
    sides = frozenset() if unpriced_side is None else frozenset({unpriced_side})
    if not charged and not request:
        flat = flat_price(bands[:1], 1, 0, sides)
        return PriceTable(bands=bands[:1], unusual=sides, unpriced_side=unpriced_side, flat=flat)
    required = _required(units, charged, has_tiers=bool(starts))
    optional = tuple(
        (name, frozenset(units.parts[name] - prices.keys()), units.intersections[name])
        for name in names
        if name not in required and (units.parts[name] - prices.keys() or units.intersections[name])
    )
    unpriced_audio = _unpriced_audio(units, prices)
    # One of each pair is enough, because only both matter.
    unusual = unpriced_audio.union(
        sides,
        *(parts for _, parts, _ in optional),
        *({first for first, _ in pairs} for _, _, pairs in optional),
    )
    is_flat = {_INPUT, _OUTPUT}.issuperset(required)
    return PriceTable(
        bands=bands,
        denominator=denominator,
        request=int(request * denominator),
        required=required,
        unusual=unusual,
        unpriced_audio=unpriced_audio,
        unpriced_side=unpriced_side,
        optional=optional,
        least_audio_seconds=least_audio_seconds,
        flat=flat_price(bands, denominator, int(request * denominator), unusual) if is_flat else None,
    )


def check_prices(units: UnitSet, prices: Prices) -> None:
    """Raise InvalidPrices if the cost of some request would not be defined by `prices`."""
    for name, price in prices.items():
        if name not in units:
            raise InvalidPrices(f"there is no unit {name!r}")
        _check_price(name, price)
    for name in sorted(prices):
        if missing := sorted(units.containers[name] - prices.keys()):
            raise InvalidPrices(f"a price for {name} needs one for {', '.join(missing)}")
        for other in sorted(prices):
            if name >= other or units[name].excludes(units[other]):
                continue
            both = units.intersection(name, other)
            if both is None:
                raise InvalidPrices(
                    f"{name} and {other} can count the same, so one model cannot have prices for both"
                )
            if both not in prices:
                raise InvalidPrices(f"prices for {name} and {other} need one for {both}")


def _check_price(name: str, price: Decimal | TieredPrice) -> None:
    amounts = (
        (price.base, *(amount for _, amount in price.tiers)) if isinstance(price, TieredPrice) else (price,)
    )
    if not all(amount.is_finite() and 0 <= amount <= _HIGHEST for amount in amounts):
        raise InvalidPrices(f"the price of {name} must be a number from 0 to {_HIGHEST}")
    if any(amount.adjusted() - len(amount.as_tuple().digits) + 1 < -_DECIMALS for amount in amounts):
        raise InvalidPrices(f"the price of {name} must have at most {_DECIMALS} decimals")
    if isinstance(price, TieredPrice) and name == REQUESTS:
        raise InvalidPrices("the price of requests cannot have tiers")
    if isinstance(price, TieredPrice) and any(start < 0 for start, _ in price.tiers):
        raise InvalidPrices(f"a tier of {name} must start at 0 input tokens or more")


def _nano_usd(price: Decimal | TieredPrice, total: int) -> Fraction:
    """Return the nano-USD per `Unit.per`, of a request with `total` input tokens."""
    return Fraction(price.at(total) if isinstance(price, TieredPrice) else price) * NANO_USD


def _required(units: UnitSet, charged: set[str], *, has_tiers: bool) -> tuple[str, ...]:
    """Return the units that a reply must report: those that no other contains and that cost something.

    Tools were used only if the reply says so, unless the model has no other price.
    """
    outermost = sorted(name for name in charged if not units.containers[name])
    required = [name for name in outermost if not units[name].is_optional] or outermost
    if has_tiers and _INPUT not in required:
        required.append(_INPUT)
    return tuple(required)


def _unpriced_audio(units: UnitSet, prices: Prices) -> frozenset[str]:
    """Return the units of audio tokens that would be billed as text."""
    priced = {name for name in prices if units[name].is_audio_tokens}
    return frozenset(
        name
        for name in units
        if units[name].is_audio_tokens and name not in priced and not units.containers[name] & priced
    )


def _unpriced_side(prices: Prices) -> str | None:
    if (_INPUT in prices) == (_OUTPUT in prices):
        return None
    return _OUTPUT if _INPUT in prices else _INPUT


def price(table: PriceTable, quantities: Quantities) -> Cost:
    """Return the cost of one request; each of the `quantities` includes its parts.

    The exact sum is rounded once, half to even; the breakdown adds up to it.
    """
    if table.unknown is not None:
        return unknown_cost(table.unknown)
    if table.least_audio_seconds:
        quantities = _with_least_audio(table.least_audio_seconds, quantities)
    for name in table.required:
        if name not in quantities:
            return unknown_cost("unreported_usage")
    if not table.unusual.isdisjoint(quantities):
        if any(map(quantities.get, table.unpriced_audio)):
            return unknown_cost("audio_without_price")
        if table.unpriced_side is not None and quantities.get(table.unpriced_side):
            return unknown_cost("no_price")
        if _is_incomplete(table, quantities):
            return unknown_cost("unreported_usage")
    bands = table.bands
    lines = bands[0][1]
    if len(bands) > 1:
        total = quantities[_INPUT]
        for start, band in bands:
            if total > start:
                lines = band
    return _bill(table, lines, quantities)


def _bill(table: PriceTable, lines: tuple[_Line, ...], quantities: Quantities) -> Cost:
    denominator = table.denominator
    breakdown: dict[str, tuple[int | float, int]] = {}
    numerator = billed = 0
    if table.request:
        numerator = table.request
        billed = _rounded(numerator, denominator)
        breakdown[REQUESTS] = (1, billed)
    counts: list[int] = []
    for name, rate, parts in lines:
        count: Any = quantities.get(name, 0)
        for part in parts:
            count -= counts[part]
        counts.append(count)
        if not count:
            continue
        if type(count) is not int:
            return _price_fractions(table, quantities)
        if count < 0:
            return unknown_cost("inconsistent_usage" if name in quantities else "unreported_usage")
        numerator += count * rate
        # Round the sum so far instead of each product, so that the breakdown adds up.
        rounded = numerator if denominator == 1 else _rounded(numerator, denominator)
        breakdown[name] = (count, rounded - billed)
        billed = rounded
    return Cost(billed, breakdown)


def _rounded(numerator: int, denominator: int) -> int:
    """Return the nearest integer to a fraction that is not negative; of two equally near, the even one."""
    rounded, remainder = divmod(numerator, denominator)
    remainder *= 2
    return rounded + (remainder > denominator or (remainder == denominator and rounded & 1))


def _price_fractions(table: PriceTable, quantities: Quantities) -> Cost:
    """Price quantities such as 3.47 seconds, which are taken for the decimals that their text says."""
    if not all(0 <= count < _INFINITY for count in quantities.values()):
        return unknown_cost("inconsistent_usage")
    exact = {
        name: Fraction(int(count)) if isinstance(count, int) else Fraction(repr(count))
        for name, count in quantities.items()
    }
    # Count in fractions of a unit that make all numbers whole.
    scale = lcm(*(count.denominator for count in exact.values()))
    scaled = msgspec.structs.replace(
        table,
        bands=tuple((start * scale, lines) for start, lines in table.bands),
        denominator=table.denominator * scale,
        request=table.request * scale,
        least_audio_seconds=0,
    )
    cost = price(scaled, {name: int(count * scale) for name, count in exact.items()})
    billed = {
        name: (count if name == REQUESTS else count / scale, nano_usd)
        for name, (count, nano_usd) in cost.breakdown.items()
    }
    return msgspec.structs.replace(cost, breakdown=billed)


def _is_incomplete(table: PriceTable, quantities: Quantities) -> bool:
    """Tell whether a reply reports parts of an optional unit, or units that intersect in it, but not the unit."""
    for name, parts, pairs in table.optional:
        if name in quantities:
            continue
        if any(map(quantities.get, parts)):
            return True
        if any(quantities.get(first) and quantities.get(second) for first, second in pairs):
            return True
    return False


def _with_least_audio(least: int, quantities: Quantities) -> Quantities:
    """Return `quantities` with at least `least` seconds of audio, unless there was none."""
    everything, input_only = (quantities.get(name) for name in _AUDIO_SECONDS)
    seconds = everything or input_only
    if seconds is None:
        return quantities
    return {**quantities, **dict.fromkeys(_AUDIO_SECONDS, max(seconds, least) if seconds > 0 else seconds)}
