"""The prices that apply to a deployment now, as an administrator reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import NotFound
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.price_list import decimal_text, price_list
from llm_gateway.core.times import iso_time
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.request.admission import current_snapshot

_UNIT_TEXT = (
    "USD by unit. Units that end in `_tokens` or `_characters`: per 1,000,000; in `_seconds`: per 3,600; in "
    "`_pixels`: per 1,000,000,000; all others: per 1,000."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """The prices of requests with more input tokens than some number."""

    above_input_tokens: int
    prices: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPrices:
    """The prices in force."""

    source: Literal["catalog", "override", "none"] = field(
        metadata={"description": "The price book, an override, or none: costs are unknown."}
    )
    version: str | None = field(metadata={"description": "As usage rows have it in `price_version`."})
    unknown: str | None = field(metadata={"description": "Why there are no prices; null if there are."})
    prices: dict[str, str] = field(metadata={"description": _UNIT_TEXT})
    tiers: tuple[PriceTier, ...] = field(
        metadata={"description": "Prices of every token of a long request, by its input tokens."}
    )


def shown_prices(snapshot: Snapshot, prices: DeploymentPrices | None, at: int) -> ShownPrices:
    """Return the prices of a deployment at an instant, in Unix microseconds."""
    if prices is None or snapshot.price_book is None:
        return ShownPrices(source="none", version=None, unknown="no_price_book", prices={}, tiers=())
    found = prices.at(at)
    if not found.are_known:
        unknown = found.table.unknown
        return ShownPrices(source="none", version=found.version, unknown=unknown, prices={}, tiers=())
    base, *tiers = price_list(snapshot.price_book.units, found.table)
    return ShownPrices(
        source=found.source,
        version=found.version,
        unknown=None,
        prices=_texts(base[1]),
        tiers=tuple(PriceTier(above_input_tokens=start, prices=_texts(tier)) for start, tier in tiers),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices(ShownPrices):
    """The prices of one upstream model at one provider at one instant."""

    provider: str
    upstream_model: str
    price_provider: str | None = field(
        metadata={
            "description": "The price book's name for whoever is paid; null: only overrides have prices."
        }
    )
    at: str


def prices_in_force(
    gateway: Gateway, provider_key: str, upstream_model: str, at: int | None = None
) -> ModelPrices:
    """Return the prices of a model at a provider, enabled or not, at an instant or now.

    Raise NotFound, and Unavailable when no configuration is loaded.
    """
    snapshot = current_snapshot(gateway, admitted=True)
    providers = (*snapshot.providers, *snapshot.disabled, *snapshot.left_out)
    found = next((one for one in providers if one.provider.provider_key == provider_key), None)
    if found is None:
        raise NotFound(f"There is no provider {provider_key!r}", param="provider")
    moment = gateway.clock.unix_us() if at is None else at
    shown = shown_prices(snapshot, found.prices(upstream_model), moment)
    return ModelPrices(
        provider=provider_key,
        upstream_model=upstream_model,
        price_provider=found.price_provider,
        at=iso_time(moment),
        source=shown.source,
        version=shown.version,
        unknown=shown.unknown,
        prices=shown.prices,
        tiers=shown.tiers,
    )


def _texts(prices: dict[str, Decimal]) -> dict[str, str]:
    return {name: decimal_text(amount) for name, amount in prices.items()}
