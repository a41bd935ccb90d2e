"""Opens connections that cannot hang: every statement, connect and release has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.address import PostgresAddress, SqliteAddress, StoreAddress
from llm_gateway.infra.database.outages import naming_outages
from llm_gateway.infra.database.sqlite_file import ReplacedFile, SqliteFile
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine, create_async_engine

CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 10.0
POOL_TIMEOUT = 10.0
# How long a writer of an SQLite file waits for another, in milliseconds.
SQLITE_BUSY_MS = 10_000
SqliteSync = Literal["NORMAL", "FULL"]
_POSTGRES, _SQLITE = "postgresql+asyncpg", "sqlite+aiosqlite"
_IDENTITY = "SELECT database_id FROM database_identity"
_HAS_TABLE = {
    "postgresql": sa.text("SELECT to_regclass(:name) IS NOT NULL"),
    "sqlite": sa.text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name"),
}


class DatabaseIdentity:
    """The id that every new connection must find in its database; None while it is not known."""

    __slots__ = ("file", "id", "shown")

    def __init__(self, shown: str) -> None:
        """`shown` names the database in messages."""
        self.shown = shown
        self.id: str | None = None
        # The file of an SQLite database, once an engine was made for it.
        self.file: SqliteFile | None = None

    @property
    def problem(self) -> str | None:
        """Return why the database is not used any more, None if it is."""
        return None if self.file is None else self.file.problem

    def check(self, found: object) -> None:
        """Raise StoreUnavailable unless `found` is the id, so that nothing is read from or stored in another one."""
        if found != self.id:
            raise StoreUnavailable(
                f"The database at {self.shown} is not the one that this gateway was started with: its id is "
                f"{found}, not {self.id}. Restart the gateway to serve this one, or bring the other one back"
            )


async def connect_postgres(
    address: PostgresAddress,
    *,
    command_timeout: float = COMMAND_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    identity: DatabaseIdentity | None = None,
) -> Any:  # noqa: ANN401 - asyncpg has no types
    """Return a new asyncpg connection, with its time limits set; raise StoreUnavailable for another `identity`."""
    import asyncpg  # noqa: PLC0415 - a gateway on SQLite does without it

    options: dict[str, Any] = {"timeout": address.connect_timeout or connect_timeout}
    if address.statement_cache_size is not None:
        options["statement_cache_size"] = address.statement_cache_size
    connection = await asyncpg.connect(address.dsn, command_timeout=command_timeout, **options)
    if identity is not None and identity.id is not None:
        try:
            identity.check(await connection.fetchval(_IDENTITY))
        except BaseException:
            connection.terminate()
            raise
    return connection


def import_driver(address: StoreAddress) -> None:
    """Import the driver and SQLAlchemy's dialect: processes that are forked afterwards share them."""
    name = _POSTGRES if isinstance(address, PostgresAddress) else _SQLITE
    sa.URL.create(name).get_dialect().import_dbapi()


def make_engine(
    address: StoreAddress,
    *,
    command_timeout: float = COMMAND_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    sqlite_busy_ms: int = SQLITE_BUSY_MS,
    identity: DatabaseIdentity | None = None,
    sqlite_sync: SqliteSync = "NORMAL",
) -> AsyncEngine:
    """Return an engine that connects on first use. Statement parameters never appear in its errors.

    Timeouts are in seconds; `sqlite_busy_ms` is how long a writer of an SQLite file waits for another one. With an
    `identity`, no connection is used that leads to another database. In a power cut, an SQLite file loses nothing
    that was committed with FULL, and the last transactions with NORMAL.
    """
    if isinstance(address, SqliteAddress):
        return _sqlite_engine(address, sqlite_busy_ms, identity, sqlite_sync)

    async def connect(*_args: object, **_options: object) -> Any:  # noqa: ANN401 - asyncpg has no types
        return await connect_postgres(
            address, command_timeout=command_timeout, connect_timeout=connect_timeout, identity=identity
        )

    prepared: dict[str, Any] = {}
    if address.statement_cache_size is not None:
        prepared["prepared_statement_cache_size"] = 0
    if address.is_pooled:
        # Unnamed: a name may be taken on the server of the next transaction, by another client.
        prepared["prepared_statement_name_func"] = str
    return create_async_engine(
        sa.URL.create(_POSTGRES),
        async_creator=connect,
        connect_args=prepared,
        pool_size=5,
        max_overflow=5,
        pool_timeout=POOL_TIMEOUT,
        pool_pre_ping=True,
        hide_parameters=True,
    )


def _sqlite_engine(
    address: SqliteAddress, busy_ms: int, identity: DatabaseIdentity | None, sync: SqliteSync
) -> AsyncEngine:
    engine = create_async_engine(
        sa.URL.create(_SQLITE, database=str(address.path)),
        # No implicit transactions: `_begin` below chooses their kind.
        connect_args={"isolation_level": None, "timeout": busy_ms / 1000},
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
    )

    if identity is not None:
        identity.file = SqliteFile(address.path)
        _watch(engine, identity.file)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        # By hand, any bytes may be stored as text: one such row must not make the others unreadable.
        connection.driver_connection.text_factory = _text
        cursor = connection.cursor()
        try:
            # WAL loses no transaction when the process is killed.
            for pragma in ("journal_mode=WAL", f"synchronous={sync}", "foreign_keys=ON"):
                cursor.execute(f"PRAGMA {pragma}")
            if identity is not None and identity.id is not None:
                cursor.execute(_IDENTITY)
                identity.check((cursor.fetchone() or (None,))[0])
            if identity is not None and identity.file is not None:
                identity.file.opened()
            cursor.close()
        except BaseException:
            # The pool forgets a connection that this raises for, without closing it.
            connection.close()
            raise

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that turns from reading to writing fails at once when another wrote in between.
        kind = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


def _watch(engine: AsyncEngine, file: SqliteFile) -> None:
    """Use no connection when its file was replaced: not to read, not to write, and not to commit."""
    is_emptied = False

    @sa.event.listens_for(engine.sync_engine, "do_connect")
    def _before_connecting(*_arguments: object) -> None:
        # The journal of the file of before lies beside the new one: opening that would write it there.
        file.check()

    @sa.event.listens_for(engine.sync_engine, "checkout")
    def _before_use(connection: DBAPIConnection, *_arguments: object) -> None:
        nonlocal is_emptied
        try:
            file.check()
        except ReplacedFile:
            if not is_emptied:
                is_emptied = _empty_wal(connection)
            raise
        is_emptied = False

    @sa.event.listens_for(engine.sync_engine, "commit")
    def _before_commit(_connection: sa.Connection) -> None:
        file.check()


def _empty_wal(connection: DBAPIConnection) -> bool:
    """Move what the write-ahead log holds into the file that `connection` has open; return whether all of it is.

    The log keeps its name when the file is replaced. SQLite would apply what is left there to the new file.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        is_busy = bool((cursor.fetchone() or (1,))[0])
    except Exception:  # noqa: BLE001 - a full disk, say: the next check tries again
        return False
    finally:
        cursor.close()
    return not is_busy


async def close_engine(engine: AsyncEngine, timeout: float = 3.0) -> None:
    """Close every connection; give up after `timeout` seconds when the database does not answer."""
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


async def has_table(connection: AsyncConnection, name: str) -> bool:
    """Tell whether there is such a table. SQLAlchemy's own way imports descriptions of PostgreSQL's tables."""
    found: object = await connection.scalar(_HAS_TABLE[connection.dialect.name], {"name": name})
    return bool(found)
