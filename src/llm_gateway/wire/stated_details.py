"""What providers state beside their token counts: further quantities by the price book's units, and the tier."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from llm_gateway.core.ledger.usage import UsageDetails
from llm_gateway.wire.token_counts import as_count

# The field of OpenAI's requests and replies.
SERVICE_TIER: Final = "service_tier"
Quantities = dict[str, int | float]
# The tiers that have the ordinary prices, in the words of OpenAI, Anthropic and Gemini, Groq, and Vertex AI.
_ORDINARY: Final = frozenset(
    {"default", "auto", "standard", "on_demand", "unspecified", "traffic_type_unspecified"}
)
# Vertex AI's traffic types, in the words of its tiers.
_TRAFFIC: Final = "on_demand_"
_TIER: Final = re.compile(r"[a-z0-9_.-]{1,40}", re.ASCII)


def add_quantity(quantities: Quantities, unit: str, value: object) -> None:
    """Add what is stated of a unit, unless it is 0 or no count."""
    if count := as_count(value):
        quantities[unit] = quantities.get(unit, 0) + count


def tier_of(value: object, asked: Container[str] = ()) -> str | None:
    """Return the tier that served a request; None for what is no name.

    Also None for the ordinary tiers, unless `asked`, the request's fields, name one: it may have been another.
    """
    if type(value) is not str:
        return None
    tier = value.strip().lower()
    if (tier in _ORDINARY and SERVICE_TIER not in asked) or not _TIER.fullmatch(tier):
        return None
    return tier.removeprefix(_TRAFFIC)


def details_of(
    quantities: Quantities, served_tier: str | None = None, cost_nano_usd: int | None = None
) -> UsageDetails | None:
    """Return the details; None if there are none, as in most replies."""
    if quantities or served_tier is not None or cost_nano_usd is not None:
        return UsageDetails(quantities=quantities, served_tier=served_tier, cost_nano_usd=cost_nano_usd)
    return None
