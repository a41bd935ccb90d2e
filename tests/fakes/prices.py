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
from llm_gateway.core.pricing.price_table import Prices, price_table
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.in_memory import FakeGateway

# USD per million tokens.
CHEAP: Mapping[str, int] = {"input_tokens": 1, "output_tokens": 2}
DEAR: Mapping[str, int] = {"input_tokens": 10, "output_tokens": 20}
VERSION = "book-1"


def usd(amounts: Mapping[str, int | str]) -> Prices:
    return {unit: Decimal(amount) for unit, amount in amounts.items()}


def prices_of(
    amounts: Mapping[str, int | str], *, tiers: Mapping[str, Mapping[str, int | str]] | None = None
) -> DeploymentPrices:
    """Return prices that always apply, and others in some service tiers."""
    variants = [
        PriceVariant({"service_tier": tier}, PricePeriod(), usd(others))
        for tier, others in (tiers or {}).items()
    ]
    dated = [DatedPrices(PricePeriod(), usd(amounts))]
    return DeploymentPrices(PriceSchedule("m", shipped_price_book().units, dated, variants), VERSION)


def overridden(amounts: Mapping[str, int | str]) -> DeploymentPrices:
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
