"""What the prices of a service tier depend on, in the price book's words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_ORDINARY: Final[Mapping[str, str]] = MappingProxyType({})
# Anthropic's fast mode is a speed, OpenAI's a tier. No model has prices for both.
_SPECIAL: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "fast": MappingProxyType({"service_tier": "fast", "speed": "fast"}),
        "batch": MappingProxyType({"processing": "batch"}),
    }
)


def tier_context(served_tier: str | None) -> Mapping[str, str]:
    """Return the context of `PriceVariant`s for a tier, as `UsageDetails.served_tier` names it; {} for None."""
    if served_tier is None:
        return _ORDINARY
    return _SPECIAL.get(served_tier) or {"service_tier": served_tier}
