"""Prices that are probably given per another number of units than the right one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llm_gateway.core.pricing.magnitude import magnitude_doubt
from llm_gateway.infra.price_book.shipped import shipped_price_book

UNITS = shipped_price_book().units


def doubt(unit: str, price: str, usual: str | None = None) -> str | None:
    return magnitude_doubt(UNITS[unit], Decimal(price), None if usual is None else Decimal(usual))


@pytest.mark.parametrize(
    ("unit", "price", "usual", "says"),
    [
        (
            "input_tokens",
            "0.0025",
            "2.5",
            "0.0025 looks like a price per 1,000 tokens; prices are per 1,000,000",
        ),
        ("input_tokens", "0.0025", "2.5", "the price book has 2.5 for this model: did you mean 2.5?"),
        ("input_tokens", "0.0025", None, "0.0025 looks like a price per 1,000 tokens"),
        ("input_tokens", "0.0000025", "2.5", "looks like a price per token;"),
        ("output_tokens", "0.00001", None, "looks like a price per token;"),
        ("output_tokens", "0.00001", None, "did you mean 10?"),
        ("web_searches", "0.01", "10", "looks like a price per search; prices are per 1,000 searches"),
        ("audio_seconds", "0.006", "0.36", "looks like a price per 60 seconds; prices are per 3,600 seconds"),
        ("audio_seconds", "0.0001", "0.36", "looks like a price per second;"),
        ("input_tokens", "2500", "2.5", "2500 looks too high"),
        ("input_tokens", "2500", None, "2500 looks too high"),
        ("input_tokens", "0.000000000001", "1", "looks too low"),
    ],
)
def test_what_is_doubted(unit: str, price: str, usual: str | None, says: str) -> None:
    found = doubt(unit, price, usual)
    assert found is not None
    assert found.startswith(f"{unit}: ")
    assert says in found


@pytest.mark.parametrize(
    ("unit", "price", "usual"),
    [
        ("input_tokens", "0", "2.5"),
        ("input_tokens", "0.25", "2.5"),
        ("input_tokens", "25", "2.5"),
        ("input_tokens", "0.02", "0"),
        ("input_tokens", "0.02", None),
        ("output_tokens", "600", None),
        ("web_searches", "0.01", None),
        ("requests", "12", None),
        ("audio_seconds", "0.04", "0.36"),
    ],
)
def test_what_is_plausible(unit: str, price: str, usual: str | None) -> None:
    assert doubt(unit, price, usual) is None


@pytest.mark.parametrize("factor", [1_000, 1_000_000])
def test_every_price_of_the_book_is_plausible_and_is_not_when_given_per_fewer_tokens(factor: int) -> None:
    for amount in ("0.05", "0.15", "1", "2.5", "15", "75"):
        usual = Decimal(amount)
        assert magnitude_doubt(UNITS["output_tokens"], usual, usual) is None
        found = magnitude_doubt(UNITS["output_tokens"], usual / factor, usual)
        assert found is not None
        assert found.endswith(f"did you mean {amount}?")
