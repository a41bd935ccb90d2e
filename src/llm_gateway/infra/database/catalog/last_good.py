"""Saves the last good catalog in DATA_DIR, with sealed secrets, so that a start needs no database."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from loguru import logger

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.flow.config.rows.store import LastGoodStore
from llm_gateway.infra.database.catalog.accounts import BudgetRow, ProjectRow, TenantRow
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.models import ModelRow
from llm_gateway.infra.database.catalog.providers import ProviderRow
from llm_gateway.infra.database.catalog.sealing import SealedSettings
from llm_gateway.infra.database.catalog.stored_catalog import LoadedCatalog, StoredCatalog
from llm_gateway.infra.database.catalog.task_types import TaskTypeRow

FILE_NAME = "last_good_catalog"
# The version of the file format that is written. Version 2 lacks what was added since: tenants, budgets and the like.
_FORMAT = 3
_READABLE_FORMATS = (2, 3)

_Row = TypeVar("_Row", ProviderRow, ModelRow, TaskTypeRow, TenantRow, ProjectRow, BudgetRow)


class _Header(msgspec.Struct, frozen=True):
    """The file's first line: tells which database it belongs to and whether this gateway can read the rest."""

    format: int
    version: int
    # The id of the database that the catalog was read from. Before there were ids: its host, port and name, or path.
    database: str
    sealed: SealedSettings


class LastGoodFile:
    """The file that holds the stored rows and the sealed settings of one database."""

    def __init__(self, folder: Path, database: str, *formerly: str) -> None:
        """`database` is the database's id; a file with one of the names it had `formerly` is read as well."""
        self.path = folder / FILE_NAME
        self._database = database
        self._names = {database, *formerly}

    def read_owner(self) -> tuple[str, SealedSettings] | None:
        """Return whose file this is, its id or name, with its sealed settings; None if there is no readable file."""
        header = self._read_header()
        return None if header is None else (header.database, header.sealed)

    def read_settings(self) -> SealedSettings | None:
        """Return the sealed settings in the file, or None if there is no readable file of this database."""
        header = self._read_header()
        return header.sealed if header is not None and self._is_ours(header) else None

    def read_catalog(self) -> StoredCatalog | None:
        """Return the rows in the file, or None if there is no readable file of this database."""
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
            header = msgspec.json.decode(head, type=_Header)
            stored = msgspec.json.decode(body, type=StoredCatalog)
        except (OSError, msgspec.DecodeError):
            return None
        return stored if self._is_ours(header) else None

    def write(self, stored: StoredCatalog, sealed: SealedSettings) -> None:
        """Replace the file atomically, with mode 0600; raise OSError."""
        header = _Header(_FORMAT, stored.version, self._database, sealed)
        # mkstemp sets mode 0600. No fsync: after a power cut the previous file, or no file, is good enough.
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{FILE_NAME}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(header) + b"\n" + msgspec.json.encode(stored))
            Path(temporary).replace(self.path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _read_header(self) -> _Header | None:
        try:
            with self.path.open("rb") as file:
                return msgspec.json.decode(file.readline(), type=_Header)
        except (OSError, msgspec.DecodeError):
            return None

    def _is_ours(self, header: _Header) -> bool:
        return header.format in _READABLE_FORMATS and header.database in self._names


def _with_last_valid_rows(
    stored: StoredCatalog, faults: Sequence[Fault], saved: StoredCatalog | None
) -> StoredCatalog:
    """Return `stored` with each faulty row as it is in `saved`, except for credentials: a faulty one is refused."""
    if not faults or saved is None:
        return stored
    faulty = {(fault.resource, fault.id) for fault in faults}

    def chosen(resource: str, rows: tuple[_Row, ...], before: tuple[_Row, ...]) -> tuple[_Row, ...]:
        last = {row.id: row for row in before}
        return tuple(last.get(row.id, row) if (resource, row.id) in faulty else row for row in rows)

    return msgspec.structs.replace(
        stored,
        providers=chosen("provider", stored.providers, saved.providers),
        models=chosen("model", stored.models, saved.models),
        task_types=chosen("task type", stored.task_types, saved.task_types),
        tenants=chosen("tenant", stored.tenants, saved.tenants),
        projects=chosen("project", stored.projects, saved.projects),
        budgets=chosen("budget", stored.budgets, saved.budgets),
    )


class LastGoodCatalog(LastGoodStore):
    """Writes the file in the background, and reads it at a start without a database."""

    def __init__(self, file: LastGoodFile, sealed: SealedSettings, decoder: CatalogDecoder) -> None:
        self._file = file
        self._sealed = sealed
        self._decoder = decoder
        self._pending: StoredCatalog | None = None
        # What the file holds, or will hold; None while that is not known.
        self._saved: StoredCatalog | None = None
        self._writing: asyncio.Task[None] | None = None

    def save(self, catalog: Catalog, faults: Sequence[Fault] = ()) -> None:
        """Schedule a write of the rows of `catalog`, replacing a write that has not begun. Never raises."""
        if not isinstance(catalog, LoadedCatalog):
            return
        self._saved = self._pending = _with_last_valid_rows(catalog.stored, faults, self._saved)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_pending())

    async def load(self) -> Catalog | None:
        """Return the catalog in the file, or None."""
        stored = await asyncio.to_thread(self._file.read_catalog)
        self._saved = self._saved or stored
        return None if stored is None else await asyncio.to_thread(self._decoder.decode, stored)

    async def close(self) -> None:
        """Wait for the last write."""
        if self._writing is not None:
            await self._writing

    async def _write_pending(self) -> None:
        while (stored := self._pending) is not None:
            self._pending = None
            try:
                await asyncio.to_thread(self._file.write, stored, self._sealed)
            except OSError as error:
                logger.warning(
                    "Cannot save the last good catalog in {} ({}): without it, no start while the database is down",
                    self._file.path,
                    type(error).__name__,
                )
