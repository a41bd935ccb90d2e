"""A database opened as the gateway opens it, and the flow's parts around it, for tests on real stores."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.config.reloader import BARRIER_TIMEOUT, Reloader, SnapshotHolder
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.ports.listeners import ReloadListener
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import (
    PostgresAddress,
    SqliteAddress,
    StoreAddress,
    embedded_address,
    read_address,
)
from llm_gateway.infra.database.catalog.change_feed import ChangeFeed
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.last_good import LastGoodCatalog, LastGoodFile
from llm_gateway.infra.database.catalog.reader import CatalogRepository
from llm_gateway.infra.database.catalog.sealing import open_pepper, read_sealed_settings, reseal
from llm_gateway.infra.database.catalog.writer import CatalogRows
from llm_gateway.infra.database.engine import close_engine, make_engine, writing
from llm_gateway.infra.database.history.reading import HistoryRepository
from llm_gateway.infra.database.migrating import migrate_up
from llm_gateway.infra.database.telemetry.repository import EventRepository
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.secrets.key_files import KeyRing
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.infra.secrets.vault import Vault
from tests.fakes.worker_registry import FakeWorkerRegistry

KINDS: Mapping[str, Kind] = {
    "openai": Kind(name="openai", default_api_base="https://api.openai.com/v1", price_provider="openai"),
    "plain": Kind(name="plain"),
}


def ring(*passphrases: str) -> KeyRing:
    return KeyRing(tuple(Secret(text) for text in passphrases or ("the test key",)), "SECRET_KEY")


@functools.cache
def _vault(passphrases: tuple[Secret, ...]) -> Vault:
    # Deriving a key takes 50 ms by design.
    return Vault([passphrase.reveal() for passphrase in passphrases])


_migrated_files: list[bytes] = []


async def _migrate(address: StoreAddress) -> None:
    """Bring the schema up; an SQLite file is made by Alembic once a process, and copied then."""
    if not isinstance(address, SqliteAddress) or address.path.exists():
        await migrate_up(address)
        return
    if not _migrated_files:
        await migrate_up(address)
        _migrated_files.append(address.path.read_bytes())
    address.path.touch(mode=0o600)
    address.path.write_bytes(_migrated_files[0])


class Store:
    """One worker's view of one database."""

    def __init__(
        self,
        address: Any,
        engine: Any,
        vault: Any,
        sealed: Any,
        pepper: bytes,
        data_dir: Path,
        environ: Any,
        barrier: float,
    ) -> None:
        self.address = address
        self.engine = engine
        self.vault = vault
        self.decoder = CatalogDecoder(vault, environ)
        self.clock = SystemClock()
        self.catalog = CatalogRepository(engine, self.decoder)
        self.rows = CatalogRows(engine, vault, self.decoder, self.clock)
        self.history_rows = HistoryRepository(engine)
        self.history = CatalogHistory(self.history_rows, self.catalog)
        self.usage = UsageRepository(engine, [RollupPosting()])
        self.events = EventRepository(engine)
        self.hasher = Blake2KeyHasher(pepper)
        self.file = LastGoodFile(data_dir, address.shown)
        self.last_good = LastGoodCatalog(self.file, sealed, self.decoder)
        self.worker_registry = FakeWorkerRegistry()
        self.holder = SnapshotHolder()
        self.reloader = Reloader(
            holder=self.holder,
            source=self.catalog,
            kinds=KINDS,
            worker_registry=self.worker_registry,
            last_good=self.last_good,
            clock=self.clock,
            prices=shipped_price_book(),
            listener=ReloadListener(),
            barrier_timeout=barrier,
        )
        self.browser = CatalogBrowser(store=self.rows, source=self.catalog, snapshots=self.holder)
        self.editor = CatalogEditor(store=self.rows, hasher=self.hasher, reloader=self.reloader, kinds=KINDS)

    @property
    def is_postgres(self) -> bool:
        return isinstance(self.address, PostgresAddress)

    def feed(self, **times: Any) -> ChangeFeed:
        return ChangeFeed(self.address, self.catalog, self.worker_registry, self.reloader, **times)

    async def sql(self, statement: str, **values: object) -> Any:
        """Run SQL behind the gateway's back; return the rows of a query."""
        async with writing(self.engine) as connection:
            result = await connection.execute(sa.text(statement), values)
            return result.all() if result.returns_rows else None

    async def add_provider(self, key: str = "p", **fields: Any) -> int:
        values = {"provider_type": "openai", "api_base": "http://127.0.0.1:9/v1", **fields}
        made = await self.editor.create(ProviderUpdate(provider_key=key, **values))
        return made.row.id

    async def add_credential(self, name: str = "c", key: str | None = None, **fields: Any) -> int:
        secret = UNSET if key is None else Secret(key)
        made = await self.editor.create(CredentialUpdate(name=name, key=secret, **fields))
        return made.row.id


@asynccontextmanager
async def opened(
    url: str | None,
    data_dir: Path,
    *,
    keys: KeyRing | None = None,
    environ: Mapping[str, str] = os.environ,
    start: bool = True,
    engine_options: Mapping[str, Any] | None = None,
    barrier_timeout: float = BARRIER_TIMEOUT,
) -> AsyncIterator[Store]:
    """Open the database at `url` (None = the SQLite file in `data_dir`), migrated, as one worker does."""
    address = embedded_address(data_dir) if url is None else read_address(url)
    keys = keys or ring()
    await _migrate(address)
    engine = make_engine(address, **engine_options or {})
    try:
        vault = _vault(keys.passphrases)
        sealed = await read_sealed_settings(engine, vault)
        pepper = open_pepper(vault, sealed, keys)
        if await reseal(engine, vault, SystemClock().unix_us()):
            sealed = await read_sealed_settings(engine, vault)
        store = Store(address, engine, vault, sealed, pepper, data_dir, environ, barrier_timeout)
        if start:
            await store.reloader.start()
        yield store
        await store.reloader.close()
        await store.last_good.close()
    finally:
        await close_engine(engine)
