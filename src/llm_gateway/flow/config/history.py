"""The history of the catalog: pages of its versions, and the catalog of an earlier version, rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.flow.config.rows.history import ChangedRow, HistoryEntry, HistoryReader
from llm_gateway.flow.paging import Page, cut_page, id_after
from llm_gateway.flow.ports.catalog import CatalogSource

# Edits that are undone to rebuild one version, at most; how many are read at a time.
_MOST_UNDONE = 5_000
_PAGE = 100
# As long as a real one, which has no meaning in a rebuilt catalog.
_HASH_BYTES = 32


class CatalogHistory:
    """What an admin API and a console show of earlier versions."""

    def __init__(
        self, reader: HistoryReader, source: CatalogSource, *, most_undone: int = _MOST_UNDONE
    ) -> None:
        self._reader = reader
        self._source = source
        self._most_undone = most_undone

    async def page(self, cursor: str | None, limit: int) -> Page[HistoryEntry]:
        """Return up to `limit` entries, newest first; raise Unprocessable for an invalid cursor."""
        before = None if cursor is None else id_after(cursor)
        entries = await self._reader.list(before, limit + 1)
        return cut_page(entries, limit, lambda entry: str(entry.first_version))

    async def get(self, version: int) -> HistoryEntry:
        """Return the entry that covers a version; raise NotFound."""
        found = await self._reader.find(version)
        if found is None:
            raise NotFound(f"There is no edit that made config version {version}")
        return found

    async def catalog(self, version: int) -> Catalog:
        """Return the catalog that was in force as `version`, without secrets; raise NotFound, Unprocessable.

        It can be rebuilt if every later version has a complete record of its changes.
        """
        newest = await self._source.load()
        if version < 1 or version > newest.version:
            raise NotFound(f"There is no config version {version}: the newest one is {newest.version}")
        undoing = _Undoing(newest)
        at, undone = newest.version, 0
        while at > version:
            for entry in await self._reader.list(at + 1, min(_PAGE, at - version)):
                if undone == self._most_undone:
                    raise _unknown(version, f"more than {undone} edits were made since then")
                _check(entry, version)
                undoing.undo(entry, version)
                at = entry.based_on
                undone += 1
                if at <= version:
                    break
        if at < version:
            raise _unknown(version, "it was one step of a larger edit, and never in force")
        return undoing.catalog(version)


class _Undoing:
    """A catalog of which changes are undone, newest first."""

    def __init__(self, newest: Catalog) -> None:
        self._newest = newest
        self._rows: dict[str, dict[int, Any]] = {
            name: {row.id: row for row in getattr(newest, resource.member)}
            for name, resource in _RESOURCES.items()
        }
        # What is known to have been another value before.
        self._changed: set[tuple[str, int, str]] = set()

    def undo(self, entry: HistoryEntry, wanted: int) -> None:
        """Undo a complete entry; raise Unprocessable if it does not fit the rows."""
        changes = () if entry.note is None or entry.note.changes is None else entry.note.changes.rows
        for change in reversed(changes):
            resource = _RESOURCES.get(change.resource)
            if resource is None or not self._undo(resource, change):
                raise _unknown(wanted, f"the record of version {entry.version} does not fit what is stored")

    def _undo(self, resource: _Resource, change: ChangedRow) -> bool:
        rows = self._rows[change.resource]
        before = change.before or {}
        # A deleted row is not there now, every other one is.
        if (change.id in rows) is (change.action == "deleted"):
            return False
        if change.action == "created":
            del rows[change.id]
            return True
        if change.action == "deleted":
            try:
                rows[change.id] = resource.restored(change.id, before)
            except TypeError:
                # A column that the row must have did not exist yet.
                return False
            return True
        rows[change.id] = msgspec.structs.replace(rows[change.id], **resource.values(before))
        self._changed |= {(change.resource, change.id, name) for name in before}
        return True

    def catalog(self, version: int) -> Catalog:
        for row in list(self._rows["credential"].values()):
            self._rows["credential"][row.id] = msgspec.structs.replace(
                row, previous_key_hash=None, **_RESOURCES["credential"].stand_ins(row.id)
            )
        members = {
            resource.member: tuple(self._rows[name][row_id] for row_id in sorted(self._rows[name]))
            for name, resource in _RESOURCES.items()
        }
        faults = tuple(fault for fault in self._newest.faults if self._still_holds(fault))
        return Catalog(version=version, **members, faults=faults)

    def _still_holds(self, fault: Fault) -> bool:
        """Tell whether a stored value that cannot be read now could not be read then; secrets do not matter."""
        place = (fault.resource, fault.id or 0, fault.field)
        is_there = fault.id in self._rows.get(fault.resource, {})
        return is_there and fault.field not in {"api_key", "key"} and place not in self._changed


class _Resource:
    """How the rows of one resource are restored from the values in a record."""

    def __init__(self, member: str, row_type: type[msgspec.Struct]) -> None:
        self.member = member
        self.type = row_type
        self._types: Mapping[str, Any] = {
            name: kind for name, kind in get_type_hints(row_type).items() if name not in _UNRECORDED
        }

    def values(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recorded values that the row has, of its types."""
        return {
            name: _convert(value, self._types[name])
            for name, value in recorded.items()
            if name in self._types
        }

    def restored(self, row_id: int, recorded: Mapping[str, Any]) -> msgspec.Struct:
        """Return a deleted row; raise TypeError if values that it must have were not recorded."""
        return self.type(id=row_id, **self.values(recorded), **self.stand_ins(row_id))

    def stand_ins(self, row_id: int) -> dict[str, Any]:
        """Return what a row needs and no record holds."""
        return {"key_hash": row_id.to_bytes(_HASH_BYTES)} if self.type is Credential else {}


_UNRECORDED = frozenset({"id", "secret", "key_hash", "previous_key_hash"})


def _convert(value: object, kind: Any) -> Any:  # noqa: ANN401 - any type
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        # Stored like this: the checks of the catalog find fault with it, as they did then.
        return value


_RESOURCES: Mapping[str, _Resource] = {
    "provider": _Resource("providers", Provider),
    "credential": _Resource("credentials", Credential),
    "model": _Resource("models", Model),
    "task type": _Resource("task_types", TaskType),
    "tenant": _Resource("tenants", Tenant),
    "project": _Resource("projects", Project),
    "budget": _Resource("budgets", Budget),
    "price": _Resource("prices", PriceOverride),
}


def _check(entry: HistoryEntry, wanted: int) -> None:
    """Raise Unprocessable unless an entry can be undone."""
    if entry.note is None:
        versions = (
            f"version {entry.version} was made"
            if entry.first_version == entry.version
            else f"versions {entry.first_version} to {entry.version} were made"
        )
        raise _unknown(wanted, f"{versions} without the gateway, so it is not known what changed")
    changes = entry.note.changes
    if changes is None:
        raise _unknown(wanted, f"version {entry.version} was made by an older gateway, which kept no record")
    if not changes.are_complete:
        raise _unknown(wanted, f"version {entry.version} changed more than its record holds")


def _unknown(wanted: int, reason: str) -> Unprocessable:
    message = f"Config version {wanted} cannot be rebuilt: {reason}"
    return Unprocessable(message, param="config_version", code="config_version_unknown")
