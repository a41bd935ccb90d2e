"""What requests to a model of a provider are priced by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.rendering import page
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.errors import NotFound, Unavailable, Unprocessable
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.explain.prices import ModelPrices
from llm_gateway.resources.filters import time_of

_MOST_NAMES: Final = 200
_LONGEST_NAME: Final = 256
_WHY_UNKNOWN: Final = {
    "no_price_book": "The gateway has no price book.",
    "unknown_provider": "The price book does not have this provider: set the provider's price_provider, or a price.",
    "unknown_model": "The price book does not have this model. Set a price for it.",
}


def price_units(services: ConsoleServices) -> Mapping[str, int]:
    """Return the units of the price book, and how many of each a price is for."""
    snapshot = services.snapshots.current
    if snapshot is None or snapshot.price_book is None:
        return {}
    units = snapshot.price_book.units
    return {name: units[name].per for name in units}


def price_suggestions(services: ConsoleServices) -> Mapping[str, Sequence[str]]:
    """Return keys of providers, and what they call the models that they list by name; not all, if there are many."""
    snapshot = services.snapshots.current
    if snapshot is None:
        return {}
    models: dict[str, None] = {}
    for provider in snapshot.providers:
        models |= dict.fromkeys(provider.names.values())
        if len(models) >= _MOST_NAMES:
            break
    return {
        "providers": [one.provider_key for one in snapshot.catalog.providers[:_MOST_NAMES]],
        "upstream-models": list(models)[:_MOST_NAMES],
    }


def prices_of_override(services: ConsoleServices, row: StoredPrice) -> ModelPrices | None:
    """Return what the model of an override is priced by now; None if it is not about one model of a provider."""
    if is_glob(row.upstream_model):
        return None
    try:
        return services.prices_in_force(row.provider, row.upstream_model, None)
    except (NotFound, Unavailable):
        return None


async def show_prices_in_force(request: Request) -> Response:
    """Show the prices of the model that the query names."""
    services, query = services_of(request), request.query_params
    asked = {name: query.get(name, "").strip()[:_LONGEST_NAME] for name in ("provider", "model", "at")}
    found: ModelPrices | None = None
    problem: str | None = None
    if asked["provider"] and asked["model"]:
        try:
            at = time_of("at", asked["at"] or None)
            found = services.prices_in_force(asked["provider"], asked["model"], at)
        except (NotFound, Unprocessable, Unavailable) as error:
            problem = error.message
    elif asked["provider"] or asked["model"]:
        problem = "Name a provider and a model, as the provider names it."
    return page(
        request,
        "catalog/prices_in_force.html",
        status=200 if problem is None else 422,
        asked=asked,
        found=found,
        problem=problem,
        why=None if found is None else _WHY_UNKNOWN.get(found.unknown or "", found.unknown),
        per=price_units(services),
        override="" if found is None else "\n".join(f"{name} = {usd}" for name, usd in found.prices.items()),
        suggestions=price_suggestions(services),
    )


ROUTES = [Route("/console/prices/in-force", show_prices_in_force, methods=["GET"])]
