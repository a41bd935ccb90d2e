"""Tells prices that are probably given per another number of units than the right one."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from llm_gateway.core.pricing.price_list import decimal_text
from llm_gateway.core.pricing.units import Unit

# Discounts and surcharges are smaller than this; a price per minute is a sixtieth of one per hour.
_MOST: Final = 100
_MOST_PER_HOUR: Final = 20
# What a price that is given per fewer units must be multiplied by, by the number it should be given per.
_FACTORS: Final = {1_000_000: (1_000, 1_000_000), 3600: (60, 3600), 1_000: (1_000,)}
# Of models that the price book does not have. All of its models cost more than the first per million tokens, but for
# one in 200, and less than half of the last.
_LEAST_PER_MILLION: Final = {"input_tokens": Decimal("0.005"), "output_tokens": Decimal("0.01")}
_MOST_PER_MILLION: Final = Decimal(1_200)


def magnitude_doubt(unit: Unit, price: Decimal, usual: Decimal | None) -> str | None:
    """Return why `price` is probably a mistake, None if it is plausible; 0 always is, and less is another mistake.

    `usual` is what the price book has for the same model, None if it has none.
    """
    if price <= 0:
        return None
    most = _MOST_PER_HOUR if unit.per == 3600 else _MOST
    if usual:
        if usual / most < price < usual * most:
            return None
        reference = f"the price book has {decimal_text(usual)} for this model"
        target = usual
    else:
        least = _LEAST_PER_MILLION.get(unit.name, Decimal(0))
        if unit.per != 1_000_000 or least <= price <= _MOST_PER_MILLION:
            return None
        reference = f"models usually cost {decimal_text(least)} to {decimal_text(_MOST_PER_MILLION / 2)}"
        target = least * most
    counted = unit.name.rpartition("_")[2]
    right = f"prices are per {unit.per:,} {counted}, and {reference}"
    if price > target:
        return f"{unit.name}: {decimal_text(price)} looks too high; {right}"
    factors = _FACTORS.get(unit.per, ())
    near = [(abs((price * factor / target).ln()), factor) for factor in factors]
    if not near or min(near)[0] > Decimal(most).ln():
        return f"{unit.name}: {decimal_text(price)} looks too low; {right}"
    factor = min(near)[1]
    each = unit.per // factor
    given = f"per {each:,} {counted}" if each > 1 else f"per {_singular(counted)}"
    return (
        f"{unit.name}: {decimal_text(price)} looks like a price {given}; {right}: "
        f"did you mean {decimal_text(price * factor)}?"
    )


def _singular(counted: str) -> str:
    return counted.removesuffix("es") if counted.endswith("ches") else counted.removesuffix("s")
