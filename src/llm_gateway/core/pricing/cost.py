"""What a request cost, in integer nano-USD, or why that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

# unknown_provider, unknown_model: the price book does not have it. no_price: it has the model, but no prices of it.
# unreported_usage: the reply does not say how much was used of a unit that the model is billed by, or only how much
# of a part of it. inconsistent_usage: the parts exceed what contains them. audio_without_price: audio was used, and
# the model has prices for text only.
UnknownCost = Literal[
    "unknown_provider",
    "unknown_model",
    "no_price",
    "unreported_usage",
    "inconsistent_usage",
    "audio_without_price",
]
# How much was used, by the names of units. A unit includes its parts: `input_tokens` includes `cache_read_tokens`.
Quantities = Mapping[str, int | float]


# It refers to names and numbers only, so the garbage collector skips it (gc=False).
class Cost(msgspec.Struct, frozen=True, gc=False):
    """The cost of one request.

    `nano_usd` is None if the cost is not known, for the reason `unknown`; it is never 0 for that. `breakdown` has for
    each unit that was billed the quantity, without the parts that are billed by units of their own, and its nano-USD.
    These add up to `nano_usd`.
    """

    nano_usd: int | None
    breakdown: dict[str, tuple[int | float, int]]
    unknown: UnknownCost | None = None


def unknown_cost(reason: UnknownCost) -> Cost:
    """Return the cost of a request that has no known one."""
    return Cost(None, {}, reason)
