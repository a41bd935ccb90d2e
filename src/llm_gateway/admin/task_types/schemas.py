"""A task type as the admin API takes it and shows it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET
from pydantic import BaseModel, Field

from llm_gateway.admin.shapes import Body, ModelName, Name, WriteAnswer, outcome
from llm_gateway.admin.times import iso_time
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.config.warnings import unserved
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows import TaskTypeEntry, TaskTypeFields

_Models = Annotated[
    list[ModelName], Field(min_length=1, max_length=100, description="Public models, best first.")
]


class TaskTypeChange(Body):
    """PUT and PATCH: what is left out stays."""

    # A default_factory only says "may be left out": what it makes is never looked at.
    name: Name = Field(default_factory=str)
    models: _Models = Field(default_factory=list)

    def fields(self) -> TaskTypeFields:
        """Return what the client sent."""
        given = self.given()
        if "models" in given:
            given["models"] = tuple(given["models"])
        return TaskTypeFields(**given)


class NewTaskType(TaskTypeChange):
    """POST."""

    name: Name
    models: _Models


class TaskTypeView(BaseModel):
    """A task type as lists show it."""

    id: int
    name: str
    models: list[str] | None = Field(description="null: what is stored cannot be read.")
    created_at: str
    updated_at: str
    warnings: list[str] = Field(description="Which of the models no enabled provider serves now.")


class WrittenTaskType(TaskTypeView, WriteAnswer):
    """A task type, and what its change led to."""


class TaskTypePage(BaseModel):
    """One page of task types, by id."""

    data: list[TaskTypeView]
    next_cursor: str | None


def view(entry: TaskTypeEntry, snapshot: Snapshot | None) -> TaskTypeView:
    """Return what an admin sees of a task type, with what is missing in `snapshot`."""
    return TaskTypeView(**_values(entry, snapshot))


def written(edited: Edited[TaskTypeEntry], snapshot: Snapshot | None) -> WrittenTaskType:
    """Return the answer to a write."""
    return WrittenTaskType(**_values(edited.entry, snapshot), **outcome(edited))


def _values(entry: TaskTypeEntry, snapshot: Snapshot | None) -> dict[str, Any]:
    models = None if entry.models is UNSET else list(entry.models)
    return {
        "id": entry.id,
        "name": entry.name,
        "models": models,
        "created_at": iso_time(entry.created_at),
        "updated_at": iso_time(entry.updated_at),
        "warnings": [] if snapshot is None else unserved(snapshot, "models", models or ()),
    }
