"""`/admin/v1/models`: what is set for a public model: create, list, show, change and delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from llm_gateway.admin.models.schemas import (
    ModelChange,
    ModelPage,
    ModelView,
    NewModel,
    WrittenModel,
    unconfigured,
    view,
    written,
)
from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Deleted, Limit, id_after, make_cursor, read_ref
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.config.rows import ModelEntry

router = APIRouter(prefix="/models", tags=["models"])

_All = Annotated[bool, Query(alias="all", description="Also name the models that have no settings.")]


def _ref(model: str) -> int | str:
    return read_ref(model, "model")


@router.post("", status_code=201, response_model_exclude_unset=True)
async def create_model(body: NewModel, services: Services) -> WrittenModel:
    """Set something for a public model, which providers serve without that too."""
    edited = await services.editor.create(body.fields())
    return written(edited, services.reloader.snapshot)


@router.get("", response_model_exclude_unset=True)
async def list_models(
    services: Services, cursor: Cursor = None, limit: Limit = PAGE_SIZE, everything: _All = False
) -> ModelPage:
    """List the models that have settings, by id."""
    entries = await services.store.list(ModelEntry, id_after(cursor), limit + 1)
    snapshot = services.reloader.snapshot
    more = len(entries) > limit
    rows = entries[:limit]
    page = ModelPage(
        data=[view(entry, snapshot) for entry in rows],
        next_cursor=make_cursor(str(rows[-1].id)) if more else None,
    )
    if everything:
        page.unconfigured = unconfigured(snapshot)
    return page


# A model's name may hold slashes.
@router.get("/{model:path}")
async def get_model(model: str, services: Services) -> ModelView:
    """Show one model's settings, by id or name."""
    entry = await services.store.find(ModelEntry, _ref(model))
    if entry is None:
        raise NotFound(f"There is no model {model!r}")
    return view(entry, services.reloader.snapshot)


@router.put("/{model:path}", response_model_exclude_unset=True)
@router.patch("/{model:path}", response_model_exclude_unset=True)
async def change_model(model: str, body: ModelChange, services: Services) -> WrittenModel:
    """Change what the body names; the rest stays."""
    edited = await services.editor.update(_ref(model), body.fields())
    return written(edited, services.reloader.snapshot)


@router.delete("/{model:path}", response_model_exclude_unset=True)
async def delete_model(model: str, services: Services) -> Deleted:
    """Delete a model's settings; its providers serve it as before, by the defaults."""
    return Deleted.of(await services.editor.delete(ModelEntry, _ref(model)))
