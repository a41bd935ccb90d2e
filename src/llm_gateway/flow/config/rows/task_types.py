"""Stored task types, and what an admin may set on them."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType

from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow


class StoredTaskType(StoredRow, frozen=True, kw_only=True):
    """A task type as it is stored."""

    resource: ClassVar[str] = "task type"

    name: str
    models: tuple[str, ...] | UnsetType

    @property
    def name_or_key(self) -> str:
        return self.name


class TaskTypeUpdate(RowUpdate[StoredTaskType], frozen=True, kw_only=True):
    """What an admin may set on a task type."""

    stored: ClassVar[type[StoredRow]] = StoredTaskType

    name: str | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
