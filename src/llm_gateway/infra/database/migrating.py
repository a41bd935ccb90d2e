"""Migrates the schema up or down, in one process at a time. Cheap when the schema is up to date."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.address import PostgresAddress, SqliteAddress, StoreAddress, read_address
from llm_gateway.infra.database.engine import (
    close_engine,
    connect_postgres,
    has_table,
    make_engine,
    reading,
    writing,
)
from llm_gateway.infra.database.outages import naming_outages
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine
from llm_gateway.infra.startup_error import StartupError

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration, known without importing Alembic (100 ms and more); a test compares it with the folder.
HEAD = "0014"

# The key of PostgreSQL's advisory lock for migrations: any number that no other program uses.
_LOCK = 7_526_181_118_341_921
_LOCK_TIMEOUT = 120.0
_CLOSE_TIMEOUT = 3.0
# A migration may have to copy a table.
_MIGRATION_TIMEOUT = 3600.0


async def migrate_up(url: str | StoreAddress) -> str:
    """Upgrade the schema to HEAD if needed and return HEAD; raise StartupError, StoreUnavailable."""
    if await current_version(url) == HEAD:
        return HEAD

    def upgrade(config: Config) -> None:
        from alembic import command  # noqa: PLC0415 - most starts need no Alembic

        command.upgrade(config, "head")

    await _migrate(_address(url), upgrade)
    return HEAD


async def migrate_down_one(url: str | StoreAddress) -> str | None:
    """Undo the newest migration and return the version after it, None for an empty schema; raise StartupError."""
    if await current_version(url) is None:
        raise StartupError("There is no migration to undo: the database is empty")

    def downgrade(config: Config) -> None:
        from alembic import command  # noqa: PLC0415 - most starts need no Alembic

        command.downgrade(config, "-1")

    await _migrate(_address(url), downgrade)
    return await current_version(url)


async def current_version(url: str | StoreAddress) -> str | None:
    """Return the schema's version, None for an empty database; raise StoreUnavailable.

    Does not create a missing SQLite file.
    """
    address = _address(url)
    if isinstance(address, SqliteAddress) and not address.path.exists():
        return None
    if isinstance(address, PostgresAddress):
        return await _postgres_revision(address)
    engine = make_engine(address)
    try:
        return await _stored_revision(engine)
    finally:
        await close_engine(engine)


async def check_schema(url: str | StoreAddress) -> None:
    """Raise StartupError unless the schema is at HEAD: for starts with AUTO_MIGRATE=false."""
    version = await current_version(url)
    if version != HEAD:
        raise StartupError(
            f"The database schema has {version or 'no version'}, but this gateway needs {HEAD}: "
            "run `llm-gateway migrate up`, or start with AUTO_MIGRATE=true"
        )


def _address(url: str | StoreAddress) -> StoreAddress:
    return read_address(url) if isinstance(url, str) else url


async def _postgres_revision(address: PostgresAddress) -> str | None:
    """Return the version by the driver alone: an engine would ask the server about itself first, at every start."""
    with naming_outages():
        connection = await connect_postgres(address)
        try:
            # In a transaction, so that a pooler leads all of it to one server.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                    return None
                found = await connection.fetchval("SELECT version_num FROM alembic_version")
            with contextlib.suppress(TimeoutError):
                await connection.close(timeout=_CLOSE_TIMEOUT)
        finally:
            connection.terminate()
    return None if found is None else str(found)


async def _stored_revision(engine: AsyncEngine) -> str | None:
    async with reading(engine) as connection:
        if not await has_table(connection, "alembic_version"):
            return None
        row = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


async def _migrate(address: StoreAddress, run: Callable[[Config], None]) -> None:
    async with _only_one(address):
        engine = make_engine(address, command_timeout=_MIGRATION_TIMEOUT)
        try:
            async with writing(engine) as connection:
                if connection.dialect.name == "postgresql":
                    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(_LOCK_TIMEOUT)}s'")
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                await connection.run_sync(lambda sync: _run_alembic(sync, run))
        finally:
            await close_engine(engine)


def _run_alembic(connection: sa.Connection, run: Callable[[Config], None]) -> None:
    from alembic.config import Config  # noqa: PLC0415 - most starts need no Alembic
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        run(config)
    except CommandError as error:
        raise StartupError(
            f"This gateway does not know the version of the database schema ({error}): "
            "a newer gateway has migrated it; start the newer one"
        ) from error


def _migrations_folder() -> Path:
    """Return the folder of the migrations: inside an installed package, beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "migrations", package.parents[1] / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StartupError(
        f"The migrations are missing: they are neither in {package} nor in the folders above it"
    )


@contextlib.asynccontextmanager
async def _only_one(address: StoreAddress) -> AsyncIterator[None]:
    """Hold the lock file beside an SQLite database (PostgreSQL has its own lock); raise StartupError when stuck."""
    if not isinstance(address, SqliteAddress):
        yield
        return
    path = address.path.with_name(address.path.name + ".migrating")
    try:
        await asyncio.to_thread(address.path.parent.mkdir, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"The database is not available ({path} cannot be created: {error.strerror}). Make its folder writable"
            " for the gateway's user"
        ) from None
    try:
        # Readable by the owner only; SQLite creates its other files with the mode of this one.
        with naming_outages():
            await asyncio.to_thread(address.path.touch, mode=0o600, exist_ok=True)
        # The kernel releases the lock when its process ends. Not a blocking call, because that could not time out.
        async with asyncio.timeout(_LOCK_TIMEOUT):
            while not _try_lock(handle):  # noqa: ASYNC110 - no event tells of a released file lock
                await asyncio.sleep(0.02)
        yield
    except TimeoutError:
        raise StartupError(
            f"Another process has held the lock {path} for {_LOCK_TIMEOUT:.0f} s. Check whether it is stuck."
        ) from None
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
