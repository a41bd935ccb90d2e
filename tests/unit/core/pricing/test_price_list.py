"""A table is read back as the decimals that it was made of."""

from __future__ import annotations

from decimal import Decimal

from llm_gateway.core.pricing.price_list import decimal_text, price_list
from llm_gateway.core.pricing.price_table import Prices, TieredPrice, price_table, unknown_price
from tests.unit.core.pricing.conftest import make_units

UNITS = make_units()


def test_prices_come_back_as_they_went_in() -> None:
    prices = {
        "input_tokens": Decimal("2.5"),
        "cache_read_tokens": Decimal("0.0416666666667"),
        "output_tokens": Decimal("0.000000000000000001"),
        "web_searches": Decimal(10),
        "audio_seconds": Decimal("0.36"),
        "requests": Decimal("12.5"),
    }
    assert price_list(UNITS, price_table(UNITS, prices)) == [(-1, prices)]


def test_tiers_come_back_with_their_starts() -> None:
    output = Decimal(15)
    prices: Prices = {
        "input_tokens": TieredPrice(Decimal(3), ((200_000, Decimal(6)),)),
        "output_tokens": output,
    }
    assert price_list(UNITS, price_table(UNITS, prices)) == [
        (-1, {"input_tokens": Decimal(3), "output_tokens": output}),
        (200_000, {"input_tokens": Decimal(6), "output_tokens": output}),
    ]


def test_free_is_a_price_and_unknown_is_none() -> None:
    free = price_table(UNITS, {"input_tokens": Decimal(0), "output_tokens": Decimal(0)})
    assert price_list(UNITS, free) == [(-1, {"input_tokens": Decimal(0), "output_tokens": Decimal(0)})]
    assert price_list(UNITS, unknown_price("no_price")) == []


def test_text_has_no_exponent() -> None:
    texts = [decimal_text(Decimal(text)) for text in ("3E+2", "1E-9", "2.50", "0.0", "100")]
    assert texts == ["300", "0.000000001", "2.5", "0", "100"]
