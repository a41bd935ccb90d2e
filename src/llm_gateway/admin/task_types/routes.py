"""`/admin/v1/task-types`: which models do which task."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.crud import Crud
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.resources.task_types import (
    NewTaskType,
    TaskTypeChange,
    TaskTypePage,
    TaskTypeView,
    WrittenTaskType,
    shown,
)

router = APIRouter(prefix="/task-types", tags=["task types"])

Crud(
    stored=StoredTaskType,
    name="task_type",
    new=NewTaskType,
    change=TaskTypeChange,
    view=TaskTypeView,
    written=WrittenTaskType,
    page=TaskTypePage,
    shown=shown,
    with_slashes=True,
    docs={
        "create": "Create a task type.",
        "list": "List task types by id.",
        "get": "Show one task type, by id or name.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a task type.",
    },
).add_to(router)
