"""What providers say that a request cost. Only kinds that are known to state it are asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Protocol

from llm_gateway.core.money import NANO_USD

# USD. No request costs more.
_HIGHEST: Final = 10_000
_TICKS_PER_USD: Final = 10**10
# More digits, or a number that is closer to 0, cannot be meant.
_MOST_DIGITS, _SMALLEST = 60, -60
_NUMERAL: Final = re.compile(r"\d{1,20}(\.\d{1,30})?([eE][+-]?\d{1,2})?", re.ASCII)


class CostFields(Protocol):
    """The fields of `usage` from which costs are read; any may have any type."""

    # USD, or an object of parts and their sum.
    cost: Any
    cost_details: Any
    is_byok: Any
    cost_in_usd_ticks: Any


CostReader = Callable[[CostFields], int | None]


def openrouter_cost(usage: CostFields) -> int | None:
    """Return what OpenRouter charged, and with a key of one's own (BYOK) also what the upstream provider charges.

    `cost` is only OpenRouter's fee then. In all other replies the upstream's cost is part of it.
    """
    charged = _usd(usage.cost)
    if charged is None or usage.is_byok is not True:
        return _nano_usd(charged)
    upstream = _usd(member(usage.cost_details, "upstream_inference_cost"))
    return None if upstream is None else _nano_usd(charged + upstream)


def perplexity_cost(usage: CostFields) -> int | None:
    """Return the sum of the parts, which include searches and tools."""
    currency = member(usage.cost, "currency")
    if currency is not None and currency != "USD":
        return None
    return _nano_usd(_usd(member(usage.cost, "total_cost")))


def xai_cost(usage: CostFields) -> int | None:
    """Return xAI's ticks in nano-USD. No model of xAI's is free, so 0 means that it is not known yet."""
    ticks = usage.cost_in_usd_ticks
    if type(ticks) is not int or ticks <= 0:
        return None
    return _nano_usd(Fraction(ticks, _TICKS_PER_USD))


def member(value: object, name: str) -> object:
    """Return a member of what should be an object; None if it is none, or has no such member."""
    return value.get(name) if isinstance(value, Mapping) else None


def _usd(value: object) -> Fraction | None:
    """Return the exact value of a number or numeral; None for what is none, negative or absurd."""
    if type(value) is float:
        # The shortest text that stands for it, which is what the provider wrote.
        number = Decimal(repr(value))
    elif type(value) is int or (type(value) is str and _NUMERAL.fullmatch(value)):
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    else:
        return None
    if not number.is_finite() or not 0 <= number <= _HIGHEST or len(number.as_tuple().digits) > _MOST_DIGITS:
        return None
    return Fraction(0) if number.adjusted() < _SMALLEST else Fraction(number)


def _nano_usd(usd: Fraction | None) -> int | None:
    """Round once, half to even."""
    return None if usd is None or usd > _HIGHEST else round(usd * NANO_USD)
