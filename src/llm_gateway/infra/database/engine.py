"""Opens connections that cannot hang: every statement, connect and release has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.address import PostgresAddress, SqliteAddress, StoreAddress

CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 10.0
POOL_TIMEOUT = 10.0
# How long a writer of an SQLite file waits for another, in milliseconds.
SQLITE_BUSY_MS = 10_000


async def connect_postgres(address: PostgresAddress, *, command_timeout: float = COMMAND_TIMEOUT) -> Any:  # noqa: ANN401 - asyncpg has no types
    """Return a new asyncpg connection, with its time limits set."""
    options: dict[str, Any] = {"timeout": address.connect_timeout or CONNECT_TIMEOUT}
    if address.statement_cache_size is not None:
        options["statement_cache_size"] = address.statement_cache_size
    return await asyncpg.connect(address.dsn, command_timeout=command_timeout, **options)


def make_engine(address: StoreAddress, *, command_timeout: float = COMMAND_TIMEOUT) -> AsyncEngine:
    """Return an engine; nothing is connected yet. Statement parameters never appear in its errors."""
    if isinstance(address, SqliteAddress):
        return _sqlite_engine(address)

    async def connect(*_args: object, **_options: object) -> Any:  # noqa: ANN401 - asyncpg has no types
        return await connect_postgres(address, command_timeout=command_timeout)

    cache = {} if address.statement_cache_size is None else {"prepared_statement_cache_size": 0}
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        connect_args=cache,
        pool_size=5,
        max_overflow=5,
        pool_timeout=POOL_TIMEOUT,
        pool_pre_ping=True,
        hide_parameters=True,
    )


def _sqlite_engine(address: SqliteAddress) -> AsyncEngine:
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(address.path)),
        # No transactions behind our back: `_begin` below says which kind it is to be.
        connect_args={"isolation_level": None, "timeout": SQLITE_BUSY_MS / 1000},
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        # WAL with NORMAL loses no transaction when the process is killed, at most the last ones of a power cut.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A reader that turns writer half-way fails at once when another wrote in between: say it beforehand.
        kind = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine


async def close_engine(engine: AsyncEngine, timeout: float = 3.0) -> None:
    """Close every connection; after `timeout` seconds with a database that says nothing, leave them."""
    closing = asyncio.ensure_future(engine.dispose())
    _, late = await asyncio.wait({closing}, timeout=timeout)
    for task in late:
        task.cancel()


@contextlib.asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection in which all reads see one state of the database. Raises StoreUnavailable."""
    with naming_outages():
        async with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            async with connection.begin():
                yield connection


@contextlib.asynccontextmanager
async def writing(engine: AsyncEngine, *, rollback: bool = False) -> AsyncIterator[AsyncConnection]:
    """Give a connection in a transaction that commits at the clean end, or never. Raises StoreUnavailable."""
    with naming_outages():
        async with engine.connect() as connection:
            await connection.execution_options(writes=True)
            async with connection.begin() as transaction:
                yield connection
                if rollback:
                    await transaction.rollback()


@contextlib.contextmanager
def naming_outages() -> Iterator[None]:
    """Turn a driver's way of saying "the database does not answer" into StoreUnavailable."""
    try:
        yield
    except Exception as error:
        reason = _outage(error)
        if reason is None:
            raise
        raise StoreUnavailable(f"The database is not available ({reason})") from error


def _outage(error: BaseException) -> str | None:
    """Return a short reason, free of values, when `error` means that the database is not there now."""
    if isinstance(error, PoolTimeoutError):
        return "all connections are busy"
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return type(error.driver_exception).__name__
        return _outage(error.driver_exception)
    if isinstance(error, asyncio.TimeoutError | OSError):
        return type(error).__name__
    # Whoever raised its errors has imported it: a gateway on PostgreSQL need not.
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and isinstance(error, sqlite3.OperationalError):
        # Locked, full, read-only, gone: but not a statement of ours that makes no sense.
        return None if error.sqlite_errorname == "SQLITE_ERROR" else f"SQLite: {error}"
    if isinstance(error, _POSTGRES_OUTAGES):
        # The server's first sentence: it names users and databases, never a password or a value.
        return str(error).partition("\n")[0]
    return None


# The server is there and turns us away, for now or for good: an operator's affair, not a fault of ours.
_POSTGRES_OUTAGES = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
)
