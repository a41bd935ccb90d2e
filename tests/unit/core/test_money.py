from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.money import MOST_NANO_USD, InvalidAmount, read_usd, usd_text


@given(st.integers(-MOST_NANO_USD, MOST_NANO_USD))
def test_an_amount_is_read_as_it_was_written(nano_usd: int) -> None:
    text = usd_text(nano_usd)
    assert read_usd(text) == nano_usd
    assert "e" not in text.lower()
    assert Decimal(text) * 1_000_000_000 == nano_usd


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [(0, "0"), (1, "0.000000001"), (420_000, "0.00042"), (12_000_000_000, "12"), (-3_500_000_000, "-3.5")],
)
def test_an_amount_is_written_as_short_as_possible(nano_usd: int, text: str) -> None:
    assert usd_text(nano_usd) == text


@pytest.mark.parametrize(
    ("amount", "nano_usd"),
    [(0.1, 100_000_000), (5, 5_000_000_000), ("1e-9", 1), (Decimal("2.50"), 2_500_000_000)],
)
def test_numbers_stand_for_the_decimals_that_they_are_written_as(
    amount: float | str | Decimal, nano_usd: int
) -> None:
    assert read_usd(amount) == nano_usd


@pytest.mark.parametrize(
    "amount",
    ["", "ten", "nan", "inf", "-inf", "1e-10", "0.0000000001", "1e30", "1e999999", "1e-999999", "9223372037"],
)
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(InvalidAmount):
        read_usd(amount)
