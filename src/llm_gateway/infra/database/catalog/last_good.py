"""Saves the last good catalog in DATA_DIR, with sealed secrets, so that a start needs no database."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import msgspec
from loguru import logger

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.flow.config.rows.store import LastGoodStore
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.sealing import SealedSettings
from llm_gateway.infra.database.catalog.stored_catalog import LoadedCatalog, StoredCatalog

FILE_NAME = "last_good_catalog"
# The version of the file format; a gateway reads no other version than its own.
_FORMAT = 2


class _Header(msgspec.Struct, frozen=True):
    """The file's first line: tells which database it belongs to and whether this gateway can read the rest."""

    format: int
    version: int
    # The database that the catalog was read from, so that a changed DB_URL never loads another one's catalog.
    database: str
    sealed: SealedSettings


class LastGoodFile:
    """The file in DATA_DIR that holds the stored rows and the sealed settings."""

    def __init__(self, data_dir: Path, database: str) -> None:
        """`database` is the database's host, port and name, or the path of its file; it holds no password."""
        self.path = data_dir / FILE_NAME
        self._database = database

    def read_settings(self) -> SealedSettings | None:
        """Return the sealed settings in the file, or None if there is no readable file of this database."""
        try:
            with self.path.open("rb") as file:
                header = msgspec.json.decode(file.readline(), type=_Header)
        except (OSError, msgspec.DecodeError):
            return None
        return header.sealed if self._is_ours(header) else None

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

    def _is_ours(self, header: _Header) -> bool:
        return header.format == _FORMAT and header.database == self._database


class LastGoodCatalog(LastGoodStore):
    """Writes the file in the background, and reads it at a start without a database."""

    def __init__(self, file: LastGoodFile, sealed: SealedSettings, decoder: CatalogDecoder) -> None:
        self._file = file
        self._sealed = sealed
        self._decoder = decoder
        self._pending: StoredCatalog | None = None
        self._writing: asyncio.Task[None] | None = None

    def save(self, catalog: Catalog) -> None:
        """Schedule a write of the rows of `catalog`, replacing a write that has not begun. Never raises."""
        if not isinstance(catalog, LoadedCatalog):
            return
        self._pending = catalog.stored
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_pending())

    async def load(self) -> Catalog | None:
        """Return the catalog in the file, or None."""
        stored = await asyncio.to_thread(self._file.read_catalog)
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
