"""Opens the database and its keys; while it is down, uses the last-good files in DATA_DIR."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
from loguru import logger

from llm_gateway.app.data_folder import adopt_older_files, machine_name
from llm_gateway.app.keys import Keys, find_keys, store_address
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import (
    SqliteAddress,
    StoreAddress,
)
from llm_gateway.infra.database.budgets.balances import BalanceRepository
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.database.budgets.notices import NoticeRepository
from llm_gateway.infra.database.budgets.posting import BudgetPosting
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
from llm_gateway.infra.database.engine import DatabaseIdentity, SqliteSync, close_engine, make_engine
from llm_gateway.infra.database.folders import DatabaseFolders
from llm_gateway.infra.database.history.reading import HistoryRepository
from llm_gateway.infra.database.identity import read_database_id
from llm_gateway.infra.database.postings import UsagePosting
from llm_gateway.infra.database.sessions import SessionRepository
from llm_gateway.infra.database.telemetry.repository import EventRepository
from llm_gateway.infra.database.usage.backup import DatabaseUsageBackup, read_backup_address
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.secrets.key_files import (
    KeyRing,
)
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.infra.secrets.vault import Vault
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.variables import named_variables


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """An open database."""

    address: StoreAddress
    identity: DatabaseIdentity
    engine: AsyncEngine
    catalog: CatalogRepository
    rows: CatalogRows
    history: HistoryRepository
    usage: UsageRepository
    events: EventRepository
    balances: BalanceRepository
    budget_posting: BudgetPosting
    # What follows from usage rows, stored or changed.
    postings: tuple[UsagePosting, ...]
    budget_notices: NoticeRepository
    sessions: SessionRepository
    # Stores rows that another machine has left in the backup, which take nothing from the shares of this one.
    usage_of_others: UsageRepository
    # Takes usage records while the database does not; None without BACKUP_DB_URL.
    usage_backup: DatabaseUsageBackup | None
    last_good: LastGoodCatalog
    hasher: Blake2KeyHasher
    # Hashes of the operator's keys, which no client may have.
    operator_keys: frozenset[bytes]
    # The folder below DATA_DIR for all that belongs to this database, and its name where counts are shared.
    folder: Path
    namespace: str


def backup_address(settings: Settings) -> StoreAddress | None:
    """Return the address of the backup database, None if there is none; raise StartupError."""
    if settings.backup_db_url is None:
        return None
    return read_backup_address(settings.backup_db_url.reveal(), store_address(settings))


def check_database_exists(settings: Settings) -> None:
    """Raise StartupError if a command that reads what a gateway has stored would begin a new database."""
    address = store_address(settings)
    if isinstance(address, SqliteAddress) and not address.path.exists():
        message = (
            f"There is no database at {address.path}. Run this in the folder that the gateway was started in, or "
            "with its DATA_DIR or DB_URL."
        )
        raise StartupError(message)


def open_existing_storage(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    """Open a database that a gateway has used; raise StartupError if there is none."""
    check_database_exists(settings)
    return open_storage(settings, find_keys(settings), SystemClock())


@asynccontextmanager
async def open_storage(settings: Settings, keys: Keys, clock: Clock) -> AsyncIterator[Storage]:
    """Open the database. Raises StartupError for a wrong key, StoreUnavailable without a last-good file."""
    address = store_address(settings)
    identity = DatabaseIdentity(address.shown)
    # What has left the journal must be on disk, too.
    sqlite_sync: SqliteSync = "NORMAL" if settings.usage_fsync == "never" else "FULL"
    engine = make_engine(address, identity=identity, sqlite_sync=sqlite_sync)
    vault = keys.ring.vault()
    second = backup_address(settings)
    backup_engine = None if second is None else make_engine(second, sqlite_sync=sqlite_sync)
    try:
        opened = await _open(engine, settings.data_dir, address, keys.ring, vault)
        identity.id = opened.database_id
        decoder = CatalogDecoder(vault, named_variables(settings))
        last_good = LastGoodCatalog(opened.last_good_file, opened.sealed, decoder)
        hasher = Blake2KeyHasher(open_pepper(vault, opened.sealed, keys.ring))
        namespace = opened.database_id or address.shown
        definitions = DefinitionReader(settings.zone)
        budget_posting = BudgetPosting(definitions)
        postings: tuple[UsagePosting, ...] = (RollupPosting(), budget_posting)
        backup = None
        if second is not None and backup_engine is not None:
            creates = settings.auto_migrate
            machine = machine_name(opened.folder)
            backup = DatabaseUsageBackup(backup_engine, second, namespace, machine, clock, creates=creates)
        yield Storage(
            address=address,
            identity=identity,
            engine=engine,
            catalog=CatalogRepository(engine, decoder),
            rows=CatalogRows(engine, vault, decoder, clock),
            history=HistoryRepository(engine),
            usage=UsageRepository(engine, postings),
            events=EventRepository(engine),
            postings=postings,
            balances=BalanceRepository(engine, definitions, clock.unix_us),
            budget_posting=budget_posting,
            budget_notices=NoticeRepository(engine, definitions, clock.unix_us),
            sessions=SessionRepository(engine),
            usage_of_others=UsageRepository(engine, (RollupPosting(), BudgetPosting(definitions))),
            usage_backup=backup,
            last_good=last_good,
            hasher=hasher,
            operator_keys=frozenset(map(hasher.hash, _operator_keys(settings, keys))),
            folder=opened.folder,
            namespace=namespace,
        )
        await last_good.close()
    finally:
        await close_engine(engine)
        if backup_engine is not None:
            await close_engine(backup_engine)


def _operator_keys(settings: Settings, keys: Keys) -> set[str]:
    secrets = [keys.admin.secret, *keys.ring.passphrases]
    found = {secret.reveal().strip() for secret in secrets}
    if keys.viewer is not None:
        found.add(keys.viewer.reveal().strip())
    if settings.ops_token is not None:
        found.add(settings.ops_token.reveal().strip())
    return found


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the database. Without an id, its files lie in DATA_DIR itself, as they did before ids."""

    database_id: str | None
    sealed: SealedSettings
    folder: Path
    last_good_file: LastGoodFile


async def _open(
    engine: AsyncEngine, data_dir: Path, address: StoreAddress, ring: KeyRing, vault: Vault
) -> _Opened:
    """Read the id and the sealed settings from the database, or while it is down, from what was saved of it."""
    folders = DatabaseFolders(data_dir)
    try:
        sealed = await _sealed_settings(engine, vault, ring)
        database_id = await read_database_id(engine)
    except StoreUnavailable as error:
        database_id = folders.recall(address)
        known = _known(folders, data_dir, address, database_id)
        saved = known.read_settings()
        if saved is None:
            raise
        logger.warning("The last good copy is used: {}", error.message)
        return _Opened(database_id=database_id, sealed=saved, folder=known.path.parent, last_good_file=known)
    if database_id is not None:
        folder = folders.open(address, database_id)
        pepper = open_pepper(vault, sealed, ring)
        adopt_older_files(data_dir, folder, address, pepper=pepper, ring=ring, vault=vault)
    last_good_file = _known(folders, data_dir, address, database_id)
    return _Opened(
        database_id=database_id,
        sealed=sealed,
        folder=last_good_file.path.parent,
        last_good_file=last_good_file,
    )


def has_saved_copy(settings: Settings) -> bool:
    """Tell whether a start without the database can serve the last good catalog of it."""
    address = store_address(settings)
    folders = DatabaseFolders(settings.data_dir)
    known = _known(folders, settings.data_dir, address, folders.recall(address))
    return known.read_settings() is not None


def _known(
    folders: DatabaseFolders, data_dir: Path, address: StoreAddress, database_id: str | None
) -> LastGoodFile:
    if database_id is None:
        return LastGoodFile(data_dir, address.shown)
    return LastGoodFile(folders.path(database_id), database_id, address.shown)


async def _sealed_settings(engine: AsyncEngine, vault: Vault, ring: KeyRing) -> SealedSettings:
    sealed = await read_sealed_settings(engine, vault)
    open_pepper(vault, sealed, ring)
    if (outdated := await reseal(engine, vault, SystemClock().unix_us())) > 0:
        logger.info("{} secrets were not sealed under the newest key; those that open are now.", outdated)
        sealed = await read_sealed_settings(engine, vault)
    return sealed
