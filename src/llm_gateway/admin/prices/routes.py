"""`/admin/v1/prices`: prices that an administrator sets, and what a request would be priced by."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from llm_gateway.admin.crud import Crud
from llm_gateway.admin.services import Services
from llm_gateway.core.times import read_time
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.explain.prices import ModelPrices
from llm_gateway.resources.prices import (
    NewPrice,
    PriceChange,
    PricePage,
    PriceView,
    WrittenPrice,
    shown,
)
from llm_gateway.resources.shapes import Time

router = APIRouter(prefix="/prices", tags=["prices"])


# Before the routes of single rows, whose path has the same form.
@router.get("/in-force")
async def show_prices_in_force(
    services: Services,
    provider: Annotated[str, Query(max_length=128, description="A provider_key.")],
    model: Annotated[str, Query(max_length=256, description="The model as the provider names it.")],
    at: Annotated[Time | None, Query(description="An instant in ISO 8601; now if it is left out.")] = None,
) -> ModelPrices:
    """Show what a request to this model of this provider is priced by."""
    return services.prices_in_force(provider, model, None if at is None else read_time(at))


Crud(
    stored=StoredPrice,
    name="price",
    new=NewPrice,
    change=PriceChange,
    view=PriceView,
    written=WrittenPrice,
    page=PricePage,
    shown=shown,
    by_name=False,
    docs={
        "create": "Set the prices of a model at a provider, in place of the price book's. Of several that apply at "
        "the same time the one that began last wins; of those that began together, the newest.",
        "list": "List price overrides by id.",
        "get": "Show one price override.",
        "change": "Change the fields in the body; the others stay as they are. Costs of earlier requests stay, too.",
        "delete": "Delete a price override: the price book's prices apply again. Costs of earlier requests stay.",
    },
).add_to(router)
