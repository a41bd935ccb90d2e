"""`/admin/v1/task-types`: which models do which task: create, list, show, change and delete."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Deleted, Limit, id_after, make_cursor, read_ref
from llm_gateway.admin.task_types.schemas import (
    NewTaskType,
    TaskTypeChange,
    TaskTypePage,
    TaskTypeView,
    WrittenTaskType,
    view,
    written,
)
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.config.rows import TaskTypeEntry

router = APIRouter(prefix="/task-types", tags=["task types"])


def _ref(task_type: str) -> int | str:
    return read_ref(task_type, "task type")


@router.post("", status_code=201, response_model_exclude_unset=True)
async def create_task_type(body: NewTaskType, services: Services) -> WrittenTaskType:
    """Create a task type."""
    edited = await services.editor.create(body.fields())
    return written(edited, services.reloader.snapshot)


@router.get("")
async def list_task_types(
    services: Services, cursor: Cursor = None, limit: Limit = PAGE_SIZE
) -> TaskTypePage:
    """List task types by id."""
    entries = await services.store.list(TaskTypeEntry, id_after(cursor), limit + 1)
    snapshot = services.reloader.snapshot
    more = len(entries) > limit
    page = entries[:limit]
    return TaskTypePage(
        data=[view(entry, snapshot) for entry in page],
        next_cursor=make_cursor(str(page[-1].id)) if more else None,
    )


# A name may hold slashes.
@router.get("/{task_type:path}")
async def get_task_type(task_type: str, services: Services) -> TaskTypeView:
    """Show one task type, by id or name."""
    entry = await services.store.find(TaskTypeEntry, _ref(task_type))
    if entry is None:
        raise NotFound(f"There is no task type {task_type!r}")
    return view(entry, services.reloader.snapshot)


@router.put("/{task_type:path}", response_model_exclude_unset=True)
@router.patch("/{task_type:path}", response_model_exclude_unset=True)
async def change_task_type(task_type: str, body: TaskTypeChange, services: Services) -> WrittenTaskType:
    """Change what the body names; the rest stays."""
    edited = await services.editor.update(_ref(task_type), body.fields())
    return written(edited, services.reloader.snapshot)


@router.delete("/{task_type:path}", response_model_exclude_unset=True)
async def delete_task_type(task_type: str, services: Services) -> Deleted:
    """Delete a task type."""
    return Deleted.of(await services.editor.delete(TaskTypeEntry, _ref(task_type)))
