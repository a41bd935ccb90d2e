"""Which prices are flat, and what plain text costs by them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llm_gateway.core.pricing.flat_price import flat_amount, flat_breakdown
from llm_gateway.core.pricing.price_table import TieredPrice, price_table
from llm_gateway.core.pricing.units import UnitSet

TEXT: dict[str, Any] = {"input_tokens": Decimal(1), "output_tokens": Decimal(2)}
TIERED = TieredPrice(Decimal(1), ((200_000, Decimal(2)),))


def test_plain_text_has_a_flat_price_whatever_else_has_one(units: UnitSet) -> None:
    for others in ({}, {"cache_read_tokens": Decimal("0.1")}, {"web_searches": Decimal(10)}):
        flat = price_table(units, TEXT | others).flat
        assert flat is not None
        assert flat_amount(flat, 3, 5) == 13_000
        assert flat_breakdown(flat, 3, 5, 13_000) == {"input_tokens": (3, 3000), "output_tokens": (5, 10_000)}
    free = price_table(units, dict.fromkeys(TEXT, Decimal(0))).flat
    assert free is not None
    assert flat_amount(free, 3, 5) == 0


@pytest.mark.parametrize(
    "prices",
    [
        {},
        {"input_tokens": Decimal(1)},
        {**TEXT, "requests": Decimal(1)},
        {**TEXT, "input_characters": Decimal(1)},
    ],
)
def test_what_takes_more_than_two_numbers_has_none(units: UnitSet, prices: dict[str, Any]) -> None:
    assert price_table(units, prices).flat is None


def test_a_flat_price_ends_where_the_next_tier_begins(units: UnitSet) -> None:
    flat = price_table(units, TEXT | {"input_tokens": TIERED}).flat
    assert flat is not None
    assert flat.most_input == 200_000
    assert flat_amount(flat, 200_000, 0) == 200_000_000


@pytest.mark.parametrize(("tokens", "amount"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4)])
def test_halves_are_rounded_to_even_numbers(units: UnitSet, tokens: int, amount: int) -> None:
    half = {"input_tokens": Decimal("0.0005"), "output_tokens": Decimal(0)}
    flat = price_table(units, half).flat
    assert flat is not None
    assert flat_amount(flat, tokens, 0) == amount


def test_a_breakdown_adds_up_and_has_no_line_for_nothing(units: UnitSet) -> None:
    flat = price_table(units, dict.fromkeys(TEXT, Decimal("0.0005"))).flat
    assert flat is not None
    assert flat_breakdown(flat, 1, 2, flat_amount(flat, 1, 2)) == {
        "input_tokens": (1, 0),
        "output_tokens": (2, 2),
    }
    assert flat_breakdown(flat, 0, 3, 2) == {"output_tokens": (3, 2)}
    assert flat_breakdown(flat, 3, 0, 2) == {"input_tokens": (3, 2)}
    assert flat_breakdown(flat, 0, 0, 0) == {}
