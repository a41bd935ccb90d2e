"""Versions of the configuration, as the admin API shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from llm_gateway.flow.config.rows.history import ChangedRow, HistoryEntry, RowAction
from llm_gateway.resources.times import shown_time

_VALUES = "null: none, or not recorded. Times are Unix microseconds, amounts nano-USD; keys are masked."


class ChangedRowView(BaseModel):
    """What a version changed of one row."""

    resource: str = Field(description="Such as `provider` or `task type`.")
    id: int
    name: str
    action: RowAction
    verb: str | None = Field(description="What an update is called that is more than its fields: `rotated`.")
    fields: list[str] = Field(description="The changed fields of an update.")


class ChangedRowDetail(ChangedRowView):
    """What a version changed of one row, with the values of its columns."""

    before: dict[str, Any] | None = Field(
        description=f"Values before: of an update the changed ones. {_VALUES}"
    )
    after: dict[str, Any] | None = Field(
        description=f"Values after: of an update the changed ones. {_VALUES}"
    )
    is_complete: bool = Field(
        description="false: values are missing, since they were too large or could not be read."
    )


class VersionView(BaseModel):
    """A version of the configuration, or a run of versions that the gateway did not make."""

    version: int
    first_version: int = Field(
        description="If several versions are shown as one, the first of them: of an edit with several steps, or of "
        "changes by SQL."
    )
    is_noted: bool = Field(
        description="false: rows were changed without the gateway, by SQL, and all below is null."
    )
    created_at: str | None
    actor: str | None = Field(description="`admin`, or what else changed the rows, such as an import.")
    action: str | None = Field(description="The changes as a sentence.")


class VersionSummary(VersionView):
    """A version as lists show it."""

    changes: list[ChangedRowView] | None = Field(description="null: not recorded.")


class VersionDetail(VersionView):
    """One version, with the values that it changed."""

    changes: list[ChangedRowDetail] | None = Field(description="null: not recorded.")
    omitted: int = Field(description="Changed rows that are not listed, since there were too many.")


class VersionPage(BaseModel):
    """One page of versions, newest first."""

    data: list[VersionSummary]
    next_cursor: str | None


def version_summary(entry: HistoryEntry) -> VersionSummary:
    """Return a version as lists show it."""
    rows = _rows(entry)
    changes = None if rows is None else [ChangedRowView(**_named(row)) for row in rows]
    return VersionSummary(**_noted(entry), changes=changes)


def version_detail(entry: HistoryEntry) -> VersionDetail:
    """Return a version with the values that it changed."""
    rows = _rows(entry)
    changes = None if rows is None else [_detail(row) for row in rows]
    recorded = None if entry.note is None else entry.note.changes
    return VersionDetail(
        **_noted(entry), changes=changes, omitted=0 if recorded is None else recorded.omitted
    )


def _rows(entry: HistoryEntry) -> tuple[ChangedRow, ...] | None:
    changes = None if entry.note is None else entry.note.changes
    return None if changes is None else changes.rows


def _noted(entry: HistoryEntry) -> dict[str, Any]:
    note = entry.note
    return {
        "version": entry.version,
        "first_version": entry.first_version,
        "is_noted": note is not None,
        "created_at": None if note is None or note.created_at is None else shown_time(note.created_at),
        "actor": None if note is None else note.actor,
        "action": None if note is None else note.action,
    }


def _named(row: ChangedRow) -> dict[str, Any]:
    return {
        "resource": row.resource,
        "id": row.id,
        "name": row.name,
        "action": row.action,
        "verb": row.verb,
        "fields": list(row.fields),
    }


def _detail(row: ChangedRow) -> ChangedRowDetail:
    return ChangedRowDetail(**_named(row), before=row.before, after=row.after, is_complete=row.is_complete)
