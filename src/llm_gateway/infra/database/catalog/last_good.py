"""Keeps the last good catalog in DATA_DIR, secrets sealed, so that a start needs no database."""

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
# Raised when the file's form changes: a gateway reads no other form than its own.
_FORMAT = 2


class _Header(msgspec.Struct, frozen=True):
    """The file's first line: enough to know whose it is and whether to read on."""

    format: int
    version: int
    # Which database it is of, so that a changed DB_URL never brings back another's catalog.
    database: str
    sealed: SealedSettings


class LastGoodFile:
    """The file in DATA_DIR."""

    def __init__(self, data_dir: Path, database: str) -> None:
        """Use `data_dir`; `database` names the store (host, port and name, no password)."""
        self.path = data_dir / FILE_NAME
        self._database = database

    def read_settings(self) -> SealedSettings | None:
        """Return the sealed settings in the file, None when there is no file of this database."""
        try:
            with self.path.open("rb") as file:
                header = msgspec.json.decode(file.readline(), type=_Header)
        except (OSError, msgspec.DecodeError):
            return None
        return header.sealed if self._is_ours(header) else None

    def read_catalog(self) -> StoredCatalog | None:
        """Return the rows in the file, None when there is no file of this database or it is damaged."""
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
            header = msgspec.json.decode(head, type=_Header)
            stored = msgspec.json.decode(body, type=StoredCatalog)
        except (OSError, msgspec.DecodeError):
            return None
        return stored if self._is_ours(header) else None

    def write(self, stored: StoredCatalog, sealed: SealedSettings) -> None:
        """Replace the file in one step, mode 0600; raise OSError."""
        header = _Header(_FORMAT, stored.version, self._database, sealed)
        # mkstemp makes it 0600. No fsync: after a power cut the older file, or none, will do.
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
    """Writes the file behind the caller's back and reads it at a start without a database."""

    def __init__(self, file: LastGoodFile, sealed: SealedSettings, decoder: CatalogDecoder) -> None:
        """Keep catalogs in `file`, with the `sealed` settings that go with them."""
        self._file = file
        self._sealed = sealed
        self._decoder = decoder
        self._pending: StoredCatalog | None = None
        self._writing: asyncio.Task[None] | None = None

    def save(self, catalog: Catalog) -> None:
        """Have the rows of `catalog` written soon; only the newest of a burst is. Never raises."""
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
                    "The last good catalog cannot be kept in {} ({}): a start without the database would have none",
                    self._file.path,
                    type(error).__name__,
                )
