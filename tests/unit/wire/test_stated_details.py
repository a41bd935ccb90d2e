"""Service tiers and quantities beside the token counts."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.ledger.usage import UsageDetails
from llm_gateway.wire.stated_details import Quantities, add_quantity, details_of, tier_of

ODD: tuple[Any, ...] = (None, "", "a b", "x" * 41, "t\u00e9l\u00e9", 5, True, [], {})
COUNTS: tuple[Any, ...] = (3, "4", 5.0, 0, None, -1, 10**12, [], "many", True, 0.5)


@pytest.mark.parametrize(
    ("value", "tier"),
    [
        *((name, name) for name in ("flex", "priority", "scale", "fast", "batch", "performance")),
        *((name, None) for name in ("default", "auto", "standard", "on_demand", "Default", " standard ")),
        *((name, None) for name in ("ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED", "unspecified")),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("ON_DEMAND_FLEX", "flex"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        *((odd, None) for odd in ODD),
    ],
)
def test_the_tier_is_named_if_it_is_not_the_ordinary_one(value: Any, tier: str | None) -> None:
    assert tier_of(value) == tier


def test_the_ordinary_tier_is_named_if_the_request_asked_for_one() -> None:
    asked = {"model": b"", "service_tier": b""}
    assert tier_of("default", asked) == "default"
    assert tier_of("on_demand", asked) == "on_demand"
    assert tier_of("flex", asked) == "flex"
    assert tier_of(None, asked) is None
    assert tier_of("default", {"model": b""}) is None


def test_quantities_are_added_up_and_zeros_are_left_out() -> None:
    quantities: Quantities = {}
    for value in COUNTS:
        add_quantity(quantities, "web_searches", value)
    add_quantity(quantities, "input_audio_tokens", 0)
    assert quantities == {"web_searches": 12}


def test_there_are_no_details_of_nothing() -> None:
    assert details_of({}) is None
    assert details_of({}, None, 0) == UsageDetails(cost_nano_usd=0)
    assert details_of({}, "flex") == UsageDetails(served_tier="flex")
