"""Prices that an administrator sets for a model at a provider, in place of the price book's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from llm_gateway.console.catalog import prices_in_force
from llm_gateway.console.catalog.prices_in_force import (
    price_suggestions,
    price_units,
    prices_of_override,
)
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.resources.prices import NewPrice, PriceChange, shown


def _fields(services: ConsoleServices, row: StoredPrice | None) -> Sequence[Field]:
    del services, row
    return (
        Field(
            name="provider",
            label="Provider",
            required=True,
            suggestions="providers",
            hint="The provider_key of the provider that is paid.",
        ),
        Field(
            name="upstream_model",
            label="Model",
            required=True,
            suggestions="upstream-models",
            hint="As the provider names it; or a glob, such as *.",
        ),
        Field(
            name="prices",
            label="Prices in USD",
            kind="pairs",
            required=True,
            placeholder="input_tokens = 2.5\noutput_tokens = 10",
            hint="One unit a line: unit = USD. Tokens are priced per million; all units stand below the form. These "
            "replace all prices of the model; 0 means free.",
        ),
        Field(
            name="valid_from",
            label="Apply from",
            kind="time",
            placeholder="always",
            hint="Such as 2026-12-31T18:00:00Z; UTC unless it has an offset.",
        ),
        Field(
            name="valid_until",
            label="Apply until",
            kind="time",
            placeholder="no end",
            hint="From then on, the price book or another override applies.",
        ),
        Field(
            name="confirm_magnitude",
            label="Store prices that look like a mistake, too (confirm_magnitude)",
            kind="flag",
            hint="Prices that are far from the price book's are refused otherwise.",
        ),
    )


def _period(row: StoredPrice, now: int) -> tuple[str, str]:
    if isinstance(row.valid_from, int) and row.valid_from > now:
        return "Not yet", "info"
    if isinstance(row.valid_until, int) and row.valid_until <= now:
        return "Ended", ""
    return "Applies", "good"


async def _states(services: ConsoleServices, rows: Sequence[StoredPrice]) -> Sequence[Mapping[str, Any]]:
    now = services.clock.unix_us()
    return [{"badge": _period(row, now)} for row in rows]


async def _detail(request: Request, row: StoredPrice) -> Mapping[str, Any]:
    services = services_of(request)
    return {"per": price_units(services), "in_force": prices_of_override(services, row)}


def _blank(request: Request) -> Mapping[str, Any]:
    return {"per": price_units(services_of(request)), "in_force": None}


PAGES = ResourcePages(
    stored=StoredPrice,
    path="/console/prices",
    one="price",
    title="Prices",
    about="The gateway's price book has the list prices of most models. A price here replaces them for one model, or "
    "a glob of models, at one provider. Costs of earlier requests stay as they are.",
    empty="There are no prices of your own: the price book's apply. Set one for a discount, or for a model that the "
    "price book does not have.",
    new=NewPrice,
    change=PriceChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/prices.html",
    form_template="catalog/price.html",
    defaults={},
    state=_states,
    suggestions=price_suggestions,
    blank=_blank,
    detail=_detail,
)

ROUTES = [*prices_in_force.ROUTES, *PAGES.routes()]
