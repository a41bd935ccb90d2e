"""For any prices: a table gives them back, a version depends on them alone, and mistakes of magnitude are seen."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.prices import PriceOverride, price_faults
from llm_gateway.core.pricing.magnitude import magnitude_doubt
from llm_gateway.core.pricing.price_list import decimal_text, price_list
from llm_gateway.core.pricing.price_table import price_table
from tests.fakes.price_books import price_book

UNITS = price_book().units
AMOUNTS = st.decimals(0, 1_000_000_000, places=18, allow_nan=False, allow_infinity=False)
PRICES = st.fixed_dictionaries(
    {"input_tokens": AMOUNTS},
    optional={
        "output_tokens": AMOUNTS,
        "cache_read_tokens": AMOUNTS,
        "audio_seconds": AMOUNTS,
        "web_searches": AMOUNTS,
        "requests": AMOUNTS,
    },
)
PLAUSIBLE = st.decimals("0.02", 500, places=4, allow_nan=False, allow_infinity=False)


def override(prices: dict[str, str]) -> PriceOverride:
    return PriceOverride(id=1, provider="p", upstream_model="m", prices=prices)


@given(PRICES)
def test_a_table_gives_back_the_prices_it_was_made_of(prices: dict[str, Decimal]) -> None:
    ((start, found),) = price_list(UNITS, price_table(UNITS, prices))
    assert start == -1
    # A request that costs nothing has no line.
    assert found == {name: amount for name, amount in prices.items() if amount or name != "requests"}


@given(PRICES)
def test_what_is_shown_can_be_sent_back_and_has_the_same_version(prices: dict[str, Decimal]) -> None:
    given_ = override({name: format(amount, "f") for name, amount in prices.items()})
    shown = override({name: decimal_text(amount) for name, amount in reversed(prices.items())})
    assert price_faults(given_, UNITS) == price_faults(shown, UNITS) == []
    assert given_.version == shown.version


@given(PRICES, AMOUNTS)
def test_another_price_is_another_version(prices: dict[str, Decimal], amount: Decimal) -> None:
    texts = {name: decimal_text(amount) for name, amount in prices.items()}
    other = {**texts, "input_tokens": decimal_text(amount)}
    assert (override(texts).version == override(other).version) == (prices["input_tokens"] == amount)


@pytest.mark.parametrize("unit", ["input_tokens", "output_tokens"])
@given(PLAUSIBLE, st.sampled_from([1_000, 1_000_000]))
def test_a_price_per_fewer_tokens_is_seen_and_the_right_one_is_named(
    unit: str, usual: Decimal, factor: int
) -> None:
    assert magnitude_doubt(UNITS[unit], usual, usual) is None
    found = magnitude_doubt(UNITS[unit], usual / factor, usual)
    assert found is not None
    assert found.endswith(f"did you mean {decimal_text(usual)}?")
