"""`/admin/v1/models`: settings of public models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from llm_gateway.admin.crud import Crud
from llm_gateway.admin.filters import PAGE_SIZE, Cursor, Limit, Search
from llm_gateway.admin.services import Services
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.resources.models import ModelChange, ModelPage, ModelView, NewModel, WrittenModel, shown

router = APIRouter(prefix="/models", tags=["models"])

_CRUD = Crud(
    stored=StoredModel,
    name="model",
    new=NewModel,
    change=ModelChange,
    view=ModelView,
    written=WrittenModel,
    page=ModelPage,
    shown=shown,
    with_slashes=True,
    docs={
        "create": "Create settings for a public model; providers serve it without settings, too.",
        "get": "Show one model's settings, by id or name.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a model's settings; its providers go on serving it, by the defaults.",
    },
)

_All = Annotated[bool, Query(alias="all", description="Also name the models that have no settings.")]


@router.get("", response_model_exclude_unset=True)
async def list_models(
    services: Services,
    response: Response,
    cursor: Cursor = None,
    limit: Limit = PAGE_SIZE,
    search: Search = None,
    everything: _All = False,
) -> ModelPage:
    """List the models that have settings, by id."""
    values = await _CRUD.read_page(services, response, cursor=cursor, limit=limit, search=search)
    page = ModelPage(**values)
    if everything:
        page.unconfigured = services.catalog.unconfigured_models()
    return page


_CRUD.add_to(router, with_list=False)
