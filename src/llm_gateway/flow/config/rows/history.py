"""What config versions changed: as it is recorded with each edit, and the port that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.change import Change

# Bytes of JSON that one version may take.
LARGEST_RECORD: Final = 256 * 1024
# Shown in place of a provider's key, which is recorded only if it is a reference.
_MASK: Final = "***"
_NOT_RECORDED: Final = frozenset({"id", "created_at", "updated_at"})

RowAction = Literal["created", "updated", "deleted"]


class ChangedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a version changed of one row."""

    resource: str
    id: int
    # Its name or key after the change, or before it was deleted.
    name: str
    action: RowAction
    # What an update is called that is more than its fields: "rotated".
    verb: str | None = None
    # The changed fields of an update, as the admin API calls them.
    fields: tuple[str, ...] = ()
    # Columns and their values: all of a created or deleted row, the changed ones of an updated row. Never a secret.
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    # False = values are missing: there were too many, or what was stored could not be read.
    is_complete: bool = True


class VersionChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a version changed."""

    # The version before the edit. Versions in between were never in force.
    based_on: int
    rows: tuple[ChangedRow, ...]
    # Rows that are not listed, because there were too many.
    omitted: int = 0

    @property
    def are_complete(self) -> bool:
        """Tell whether these changes can be undone."""
        return not self.omitted and all(row.is_complete for row in self.rows)


class VersionNote(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a version, and what it changed."""

    # Unix microseconds; None = what is stored cannot be read.
    created_at: int | None
    actor: str
    # The changes as a sentence.
    action: str
    # None = not recorded: an older gateway made the version.
    changes: VersionChanges | None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One edit, or a run of versions that the gateway did not make."""

    version: int
    # The first of the versions that this entry covers, of which `version` is the last.
    first_version: int
    # None = rows were changed without the gateway, by SQL: it is not known which.
    note: VersionNote | None

    @property
    def based_on(self) -> int:
        """The version in force before."""
        return self.first_version - 1


class HistoryReader(Protocol):
    """Reads the history of the catalog's versions. All may raise StoreUnavailable."""

    async def list(self, before: int | None, limit: int) -> list[HistoryEntry]:
        """Return up to `limit` entries, newest first: those of versions below `before`, None = all.

        Together they cover every version from 2 on; version 1 is the empty catalog of a new database.
        """

    async def find(self, version: int) -> HistoryEntry | None:
        """Return the entry that covers this version, or None."""


def record_changes(changes: Sequence[Change], based_on: int, largest: int = LARGEST_RECORD) -> VersionChanges:
    """Return the record of an edit's changes, whose JSON has at most `largest` bytes.

    Values are left out of rows for which they do not fit, then whole rows.
    """
    rows: list[ChangedRow] = []
    room, omitted = largest - len(msgspec.json.encode(VersionChanges(based_on=based_on, rows=()))), 0
    names = [_names_alone(change) for change in changes]
    room -= sum(_size(row) for row in names)
    for change, short in zip(changes, names, strict=True):
        row = _recorded(change)
        more = _size(row) - _size(short)
        if more <= room:
            room -= more
            rows.append(row)
        else:
            rows.append(short)
    while room < 0:
        room += _size(rows.pop())
        omitted += 1
    return VersionChanges(based_on=based_on, rows=tuple(rows), omitted=omitted)


def _size(row: ChangedRow) -> int:
    # And a comma.
    return len(msgspec.json.encode(row)) + 1


def _names_alone(change: Change) -> ChangedRow:
    row = change.after or change.before
    return ChangedRow(
        resource=change.resource,
        id=change.id,
        name="" if row is None else row.name_or_key,
        action="created" if change.before is None else "deleted" if change.after is None else "updated",
        verb=change.verb,
        fields=change.fields,
        is_complete=False,
    )


def _recorded(change: Change) -> ChangedRow:
    before, after = _values(change.before), _values(change.after)
    is_complete = _is_readable(change.before)
    if before is not None and after is not None:
        unknown = object()
        changed = [
            name for name in {**before, **after} if before.get(name, unknown) != after.get(name, unknown)
        ]
        # What could not be read, and still cannot, did not change.
        is_complete = all(name in before for name in changed)
        before, after = ({name: row[name] for name in changed if name in row} for row in (before, after))
    return msgspec.structs.replace(_names_alone(change), before=before, after=after, is_complete=is_complete)


def _values(row: StoredRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    values: dict[str, Any] = msgspec.to_builtins(row)
    key = values.get("api_key")
    if key is not None and not key.startswith("env:"):
        values["api_key"] = _MASK
    return {name: value for name, value in values.items() if name not in _NOT_RECORDED}


def _is_readable(row: StoredRow | None) -> bool:
    return row is None or all(
        getattr(row, name) is not msgspec.UNSET for name in row.__struct_fields__ if name not in _NOT_RECORDED
    )
