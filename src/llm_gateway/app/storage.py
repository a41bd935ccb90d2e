"""Opens the database and its keys; while it is down, uses the last-good files in DATA_DIR."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.database.address import StoreAddress, embedded_address, read_address
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.last_good import LastGoodCatalog, LastGoodFile
from llm_gateway.infra.database.catalog.reader import CatalogRepository
from llm_gateway.infra.database.catalog.sealing import (
    SealedSettings,
    open_pepper,
    read_sealed_settings,
    reseal,
)
from llm_gateway.infra.database.catalog.writer import CatalogRows
from llm_gateway.infra.database.engine import close_engine, make_engine
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.secrets.key_files import AdminKey, KeyRing, find_admin_key, find_key_ring
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.infra.secrets.vault import Vault
from llm_gateway.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The operator's admin key and encryption keys."""

    admin: AdminKey
    ring: KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """An open database."""

    address: StoreAddress
    engine: AsyncEngine
    catalog: CatalogRepository
    rows: CatalogRows
    usage: UsageRepository
    last_good: LastGoodCatalog
    hasher: Blake2KeyHasher


def store_address(settings: Settings) -> StoreAddress:
    """Return the address of the database; raise StartupError."""
    if settings.db_url is None:
        return embedded_address(settings.data_dir)
    return read_address(settings.db_url.get_secret_value())


def find_keys(settings: Settings) -> Keys:
    """Return the operator's keys; generate missing ones if the settings allow it. Raises StartupError."""

    def given(value: object) -> Secret | None:
        return None if value is None else Secret(value.get_secret_value())  # type: ignore[attr-defined]

    admin = find_admin_key(given(settings.admin_key), settings.data_dir, is_postgres=settings.is_postgres)
    ring = find_key_ring(
        given(settings.secret_key), admin.secret, settings.data_dir, is_postgres=settings.is_postgres
    )
    return Keys(admin=admin, ring=ring)


@asynccontextmanager
async def open_storage(settings: Settings, keys: Keys, clock: Clock) -> AsyncIterator[Storage]:
    """Open the database. Raises StartupError for a wrong key, StoreUnavailable without a last-good file."""
    address = store_address(settings)
    engine = make_engine(address)
    vault = keys.ring.vault()
    last_good_file = LastGoodFile(settings.data_dir, address.shown)
    try:
        sealed = await _sealed_settings(engine, vault, last_good_file, keys.ring)
        decoder = CatalogDecoder(vault, os.environ)
        last_good = LastGoodCatalog(last_good_file, sealed, decoder)
        yield Storage(
            address=address,
            engine=engine,
            catalog=CatalogRepository(engine, decoder),
            rows=CatalogRows(engine, vault, decoder, clock),
            usage=UsageRepository(engine),
            last_good=last_good,
            hasher=Blake2KeyHasher(open_pepper(vault, sealed, keys.ring)),
        )
        await last_good.close()
    finally:
        await close_engine(engine)


async def _sealed_settings(
    engine: AsyncEngine, vault: Vault, last_good_file: LastGoodFile, ring: KeyRing
) -> SealedSettings:
    try:
        sealed = await read_sealed_settings(engine, vault)
        open_pepper(vault, sealed, ring)
        if await reseal(engine, vault):
            sealed = await read_sealed_settings(engine, vault)
    except StoreUnavailable:
        saved = last_good_file.read_settings()
        if saved is None:
            raise
        return saved
    return sealed
