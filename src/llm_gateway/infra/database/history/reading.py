"""Reads the history of the catalog's versions: the notes of edits, and the gaps between them."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.config.rows.history import HistoryEntry, HistoryReader, VersionChanges, VersionNote
from llm_gateway.infra.database.engine import reading
from llm_gateway.infra.database.tables import StoredMicros, config_state, config_versions
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

_decode = msgspec.json.Decoder(VersionChanges).decode
# The version of a new database: no edit made it.
_FIRST = 1
# Older gateways noted an import of several rows with all of them, and not which version it was based on.
_SEVERAL = "; "


class HistoryRepository(HistoryReader):
    """The notes in `config_versions`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, before: int | None, limit: int) -> list[HistoryEntry]:
        async with reading(self._engine) as connection:
            newest = await _newest(connection)
            last = newest if before is None else min(before - 1, newest)
            return (await _entries(connection, last, limit))[:limit]

    async def find(self, version: int) -> HistoryEntry | None:
        async with reading(self._engine) as connection:
            newest = await _newest(connection)
            if not _FIRST < version <= newest:
                return None
            column = config_versions.c.version
            following = await connection.scalar(sa.select(sa.func.min(column)).where(column >= version))
            last = newest if following is None else min(int(following), newest)
            entries = await _entries(connection, last, 1)
            return next((entry for entry in entries if entry.first_version <= version), None)


async def _newest(connection: AsyncConnection) -> int:
    version = await connection.scalar(sa.select(config_state.c.version))
    # Without its row, which every read of the catalog complains of, there is nothing to show.
    return _FIRST if version is None else int(version)


async def _entries(connection: AsyncConnection, last: int, limit: int) -> list[HistoryEntry]:
    """Return at least `limit` entries that begin at version `last`, if there are that many, newest first."""
    table = config_versions.c
    columns = (
        table.version,
        StoredMicros(table.created_at).label("created_at"),
        table.actor,
        table.action,
        sa.cast(table.changes, sa.Text).label("changes"),
    )
    chosen = sa.select(*columns).where(table.version <= last, table.version > _FIRST)
    # One more: the oldest note of a page may need to know of the note before it.
    notes = list(await connection.execute(chosen.order_by(table.version.desc()).limit(limit + 1)))
    entries: list[HistoryEntry] = []
    for row, previous in zip(notes, [*(row.version for row in notes[1:]), _FIRST], strict=False):
        if row.version < last:
            entries.append(HistoryEntry(version=last, first_version=row.version + 1, note=None))
        note = _read(row)
        last = _based_on(row.version, note, previous)
        entries.append(HistoryEntry(version=row.version, first_version=last + 1, note=note))
    if len(notes) <= limit and last > _FIRST:
        entries.append(HistoryEntry(version=last, first_version=_FIRST + 1, note=None))
    return entries


def _based_on(version: int, note: VersionNote, previous: int) -> int:
    """Return the version before an edit, whatever someone wrote into the table by hand."""
    if note.changes is None:
        return previous if _SEVERAL in note.action else version - 1
    return max(min(note.changes.based_on, version - 1), previous)


def _read(row: Any) -> VersionNote:  # noqa: ANN401 - a row of these columns
    changes: VersionChanges | None = None
    if row.changes is not None:
        with contextlib.suppress(msgspec.DecodeError, UnicodeEncodeError):
            changes = _decode(row.changes)
    return VersionNote(
        created_at=row.created_at if isinstance(row.created_at, int) else None,
        actor=str(row.actor),
        action=str(row.action),
        changes=changes,
    )
