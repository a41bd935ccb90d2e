"""A task type as the admin API and the console take it and show it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET
from pydantic import BaseModel, Field

from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from llm_gateway.resources.shapes import ModelName, Name, RowView, UpdateBody, WriteAnswer
from llm_gateway.resources.times import shown_time

_Models = Annotated[
    list[ModelName], Field(min_length=1, max_length=100, description="Public models, best first.")
]


class TaskTypeChange(UpdateBody):
    """PUT and PATCH: what is left out stays."""

    # A default_factory only says "may be left out": its value is never used.
    name: Name = Field(default_factory=str)
    models: _Models = Field(default_factory=list)

    def update(self) -> TaskTypeUpdate:
        given = self.given()
        if "models" in given:
            given["models"] = tuple(given["models"])
        return TaskTypeUpdate(**given)


class NewTaskType(TaskTypeChange):
    """POST."""

    name: Name
    models: _Models


class TaskTypeView(RowView):
    """A task type as lists show it."""

    id: int
    name: str
    models: list[str] | None = Field(description="null: what is stored cannot be read.")
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None
    warnings: list[str] = Field(description="The models that no enabled provider serves now.")


class WrittenTaskType(TaskTypeView, WriteAnswer):
    """A task type after a write."""


class TaskTypePage(BaseModel):
    """One page of task types, by id."""

    data: list[TaskTypeView]
    next_cursor: str | None


def shown(row: StoredTaskType, warnings: list[str]) -> dict[str, Any]:
    """Return a stored task type as an admin sees it."""
    return {
        "id": row.id,
        "name": row.name,
        "models": None if row.models is UNSET else list(row.models),
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        "warnings": warnings,
    }
