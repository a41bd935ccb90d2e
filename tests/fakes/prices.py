"""Prices for deployments of fake gateways."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.pricing.cost import UnknownCost
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices, OverridePeriod, PricesInForce
from llm_gateway.core.pricing.price_schedule import (
    DatedPrices,
    PricePeriod,
    PriceSchedule,
    PriceVariant,
    UnknownSchedule,
)
from llm_gateway.core.pricing.price_table import Prices, TieredPrice, price_table
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.in_memory import FakeGateway

Amounts = Mapping[str, int | str | TieredPrice]

# USD per million tokens.
CHEAP: Mapping[str, int] = {"input_tokens": 1, "output_tokens": 2}
DEAR: Mapping[str, int] = {"input_tokens": 10, "output_tokens": 20}
FREE: Amounts = {"input_tokens": 0, "output_tokens": 0}
# Less than a nano-USD a token.
FRACTIONS: Amounts = {"input_tokens": "0.00025", "output_tokens": "0.0015"}
# What is written has no price.
INPUT_ALONE: Amounts = {"input_tokens": 1}
# Parts of the prompt and of the completion cost something else than the rest.
PARTS: Amounts = {
    "input_tokens": 2, "output_tokens": 8, "cache_read_tokens": 1, "cache_write_tokens": 3,
    "output_reasoning_tokens": 9,
}  # fmt: skip
# Long prompts cost more.
TIERED: Amounts = {"input_tokens": TieredPrice(Decimal(1), ((100, Decimal(5)),)), "output_tokens": 2}
VERSION = "book-1"


def usd(amounts: Amounts) -> Prices:
    return {
        unit: amount if isinstance(amount, TieredPrice) else Decimal(amount)
        for unit, amount in amounts.items()
    }


def prices_of(
    amounts: Amounts, *, tiers: Mapping[str, Amounts] | None = None, version: str = VERSION
) -> DeploymentPrices:
    """Return prices that always apply, and others in some service tiers."""
    variants = [
        PriceVariant({"service_tier": tier}, PricePeriod(), usd(others))
        for tier, others in (tiers or {}).items()
    ]
    dated = [DatedPrices(PricePeriod(), usd(amounts))]
    return DeploymentPrices(PriceSchedule("m", shipped_price_book().units, dated, variants), version)


def overridden(amounts: Amounts) -> DeploymentPrices:
    table = price_table(shipped_price_book().units, usd(amounts))
    period = OverridePeriod(PricesInForce(table, "override", "override-1"))
    return DeploymentPrices(UnknownSchedule("unknown_model"), VERSION, [period])


def unknown(reason: UnknownCost = "unknown_model") -> DeploymentPrices:
    return DeploymentPrices(UnknownSchedule(reason), VERSION)


def with_prices(bench: FakeGateway, model: str = "m", **prices: DeploymentPrices | None) -> FakeGateway:
    """Give the deployments of a model their prices, by the names of their providers."""
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    route = snapshot.route(model)
    assert route is not None

    def priced(deployment: Deployment) -> Deployment:
        return msgspec.structs.replace(deployment, prices=prices.get(deployment.provider_key))

    route.deployments = tuple(map(priced, route.deployments))
    return bench
