"""Puts the database's pieces together: schema up to date, key proven right, secrets resealed; or the kept copy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.flow.ports import Clock, StoreUnavailable, WorkerBoard
from llm_gateway.infra.database.address import StoreAddress
from llm_gateway.infra.database.catalog import CatalogRepository
from llm_gateway.infra.database.editing import CatalogRows
from llm_gateway.infra.database.engine import close_engine, make_engine
from llm_gateway.infra.database.feed import ChangeFeed, Follower
from llm_gateway.infra.database.last_good import LastGoodCatalog, LastGoodFile
from llm_gateway.infra.database.migrating import check_schema, migrate_up
from llm_gateway.infra.database.sealing import SealedSettings, open_pepper, read_sealed_settings, reseal
from llm_gateway.infra.database.stored import CatalogOpener
from llm_gateway.infra.database.usage import UsageRepository
from llm_gateway.infra.secrets import Blake2KeyHasher, KeyRing, Vault
from llm_gateway.infra.start_fault import StartFault


class Database:
    """Everything that the gateway has in its database, by port."""

    def __init__(
        self,
        *,
        address: StoreAddress,
        engine: AsyncEngine,
        vault: Vault,
        opener: CatalogOpener,
        hasher: Blake2KeyHasher,
        keeper: LastGoodCatalog,
        clock: Clock,
        is_down: bool,
    ) -> None:
        """Bundle the pieces; `open_database` makes them."""
        self._address = address
        self._engine = engine
        self.catalog = CatalogRepository(engine, opener)
        self.rows = CatalogRows(engine, vault, opener, clock)
        self.usage = UsageRepository(engine)
        self.keeper = keeper
        self.hasher = hasher
        # It did not answer at the start: the kept copy is all there is.
        self.is_down = is_down

    def feed(self, board: WorkerBoard, follower: Follower) -> ChangeFeed:
        """Return what notices changes and tells `follower`; run it as a task."""
        return ChangeFeed(self._address, self.catalog, board, follower)

    async def close(self) -> None:
        """Finish the last write of the kept copy and close the connections; takes seconds at most."""
        await self.keeper.close()
        await close_engine(self._engine)


async def open_database(
    address: StoreAddress,
    *,
    data_dir: Path,
    ring: KeyRing,
    environ: Mapping[str, str],
    clock: Clock,
    auto_migrate: bool = True,
) -> Database:
    """Return the database, ready; raise StartFault, which says what to mend.

    `environ` is where `env:NAME` secrets are looked up. When the database does not answer, and DATA_DIR holds
    the last good catalog of this very database, the answer is one whose `is_down` is true.
    """
    vault = await asyncio.to_thread(ring.vault)
    file = LastGoodFile(data_dir, address.shown)
    engine = make_engine(address)
    is_down = False
    try:
        try:
            await (migrate_up(address) if auto_migrate else check_schema(address))
            sealed = await read_sealed_settings(engine, vault)
        except StoreUnavailable as error:
            sealed = await _kept_settings(file, address, error)
            is_down = True
        pepper = open_pepper(vault, sealed, ring)
        if not is_down:
            await reseal(engine, vault)
            sealed = await read_sealed_settings(engine, vault)
    except BaseException:
        await close_engine(engine)
        raise
    opener = CatalogOpener(vault, environ)
    return Database(
        address=address,
        engine=engine,
        vault=vault,
        opener=opener,
        hasher=Blake2KeyHasher(pepper),
        keeper=LastGoodCatalog(file, sealed, opener),
        clock=clock,
        is_down=is_down,
    )


async def _kept_settings(
    file: LastGoodFile, address: StoreAddress, error: StoreUnavailable
) -> SealedSettings:
    sealed = await asyncio.to_thread(file.read_settings)
    if sealed is None:
        raise StartFault(
            f"The database {address.shown} is not available ({error.message}), and {file.path} holds no "
            "configuration of it to start with: check DB_URL and that the database runs"
        ) from error
    logger.warning("{}: starting with the last good configuration, kept in {}", error.message, file.path)
    return sealed
