"""Prices in force, as an administrator reads them."""

from __future__ import annotations

import dataclasses

import pytest

from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.explain.prices import PriceTier, prices_in_force, shown_prices
from llm_gateway.flow.gateway import Gateway
from tests.fakes.in_memory import FakeGateway, Fixed, ScriptedUpstream, provider
from tests.fakes.price_books import price_book
from tests.fakes.routing import snapshot_of

TIERED = ["long", "long", [[None, {"input_tokens": ["3", [[200_000, "6"]]], "output_tokens": "15"}]]]
BOOK = price_book(beta=[TIERED])
OVERRIDE = PriceOverride(id=1, provider="p", upstream_model="m", prices={"requests": "3"}, valid_from=100)


def gateway() -> Gateway:
    snapshot = snapshot_of(
        provider("p", price_provider="beta"),
        provider("off", 2, is_enabled=False),
        prices=BOOK,
        overrides=(OVERRIDE,),
    )
    bench = FakeGateway(upstream=ScriptedUpstream())
    return dataclasses.replace(bench.gateway, snapshots=Fixed(snapshot))


def test_the_price_books_prices_with_their_tiers() -> None:
    found = prices_in_force(gateway(), "p", "long", 0)
    assert (found.source, found.version, found.unknown) == ("catalog", "book-1", None)
    assert (found.price_provider, found.at) == ("beta", "1970-01-01T00:00:00.000000Z")
    assert found.prices == {"input_tokens": "3", "output_tokens": "15"}
    assert found.tiers == (
        PriceTier(above_input_tokens=200_000, prices={"input_tokens": "6", "output_tokens": "15"}),
    )


def test_an_override_when_it_applies() -> None:
    assert prices_in_force(gateway(), "p", "m", 99).source == "none"
    # Without an instant, now.
    for found in (prices_in_force(gateway(), "p", "m", 100), prices_in_force(gateway(), "p", "m")):
        assert (found.source, found.version, found.prices) == (
            "override",
            OVERRIDE.version,
            {"requests": "3"},
        )


def test_why_there_are_none() -> None:
    disabled = prices_in_force(gateway(), "off", "m")
    assert (disabled.source, disabled.version, disabled.unknown) == ("none", "book-1", "unknown_provider")
    assert prices_in_force(gateway(), "p", "m", 0).unknown == "unknown_model"
    with pytest.raises(NotFound, match="no provider 'gone'"):
        prices_in_force(gateway(), "gone", "m")
    assert shown_prices(snapshot_of(), None, 0).unknown == "no_price_book"
