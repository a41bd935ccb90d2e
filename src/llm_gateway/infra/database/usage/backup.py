"""The backup database: one table of journal lines that wait for the database that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa

from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import BackedUpFact, UsageBackup
from llm_gateway.infra.database.address import SqliteAddress, StoreAddress, read_address
from llm_gateway.infra.database.engine import close_engine, has_table, make_engine, reading, writing
from llm_gateway.infra.database.outages import naming_outages
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine
from llm_gateway.infra.startup_error import StartupError

# The key of PostgreSQL's advisory lock for the creation of the table: any number that no other program uses.
_LOCK = 7_526_181_118_341_922

# Seconds; far longer than a machine needs to move its lines once it reaches the database.
GONE_AFTER = 600.0

# Not one of the gateway's own tables: a backup holds nothing else, and no backup is made of the catalog.
_metadata = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_waiting = sa.Table(
    "usage_backup",
    _metadata,
    # Never used again, which `_create` sees to in SQLite: a line that came later must not be removed in the place of
    # another.
    sa.Column("number", _NUMBER, sa.Identity(), primary_key=True),
    # Which database the line belongs to: several gateways may share a backup.
    sa.Column("database_id", sa.Text, nullable=False),
    # Which machine's journal it comes from: its share of a budget gets less with it.
    sa.Column("machine", sa.Text, nullable=False),
    # Unix microseconds.
    sa.Column("added_at", sa.BigInteger, nullable=False),
    # JSON; as text, because PostgreSQL's JSON holds no NUL, which a client may have sent.
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("usage_backup_by_database", "database_id", "number"),
)


def read_backup_address(url: str, primary: StoreAddress) -> StoreAddress:
    """Return the address in BACKUP_DB_URL; raise StartupError for an invalid one, and for that of `primary`."""
    try:
        address = read_address(url)
    except StartupError as error:
        raise StartupError(str(error).replace("DB_URL", "BACKUP_DB_URL")) from None
    if address.location == primary.location:
        raise StartupError(
            f"BACKUP_DB_URL names the gateway's own database, {primary.shown}: set the URL of another database, or "
            "leave BACKUP_DB_URL unset"
        )
    return address


async def create_backup(address: StoreAddress) -> None:
    """Create the backup's table unless it exists; raise StoreUnavailable."""
    engine = make_engine(address)
    try:
        await _create(engine, address)
    finally:
        await close_engine(engine)


class DatabaseUsageBackup(UsageBackup):
    """The lines that belong to one database."""

    def __init__(
        self,
        engine: AsyncEngine,
        address: StoreAddress,
        database_id: str,
        machine: str,
        clock: Clock,
        *,
        gone_after: float = GONE_AFTER,
        creates: bool = True,
    ) -> None:
        """With `creates`, the table is created when it is first needed.

        A machine that has left a line for `gone_after` seconds is taken to be gone.
        """
        self._engine = engine
        self._address = address
        self._database_id = database_id
        self._machine = machine
        self._clock = clock
        self._gone_after = gone_after
        self._creates = creates

    async def add(self, facts: Sequence[bytes]) -> None:
        known = {
            "database_id": self._database_id,
            "machine": self._machine,
            "added_at": self._clock.unix_us(),
        }
        rows = [{**known, "record": _text(fact)} for fact in facts]
        if not rows:
            return
        await self._create_once()
        async with writing(self._engine) as connection:
            await connection.execute(sa.insert(_waiting), rows)

    async def oldest(self, limit: int) -> list[BackedUpFact]:
        return await self._oldest(limit, _waiting.c.machine == self._machine)

    async def oldest_of_others(self, limit: int) -> list[BackedUpFact]:
        until = self._clock.unix_us() - round(self._gone_after * 1e6)
        return await self._oldest(limit, _waiting.c.machine != self._machine, _waiting.c.added_at <= until)

    async def _oldest(self, limit: int, *conditions: sa.ColumnElement[bool]) -> list[BackedUpFact]:
        await self._create_once()
        chosen = (
            sa.select(_waiting.c.number, _waiting.c.record)
            .where(_waiting.c.database_id == self._database_id, *conditions)
            .order_by(_waiting.c.number)
            .limit(limit)
        )
        async with reading(self._engine) as connection:
            return [
                BackedUpFact(number, record.encode()) for number, record in await connection.execute(chosen)
            ]

    async def remove(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        gone = sa.delete(_waiting).where(
            _waiting.c.database_id == self._database_id, _waiting.c.number.in_(numbers)
        )
        async with writing(self._engine) as connection:
            await connection.execute(gone)

    async def count(self) -> int:
        await self._create_once()
        counted = (
            sa.select(sa.func.count())
            .select_from(_waiting)
            .where(_waiting.c.database_id == self._database_id)
        )
        async with reading(self._engine) as connection:
            return int((await connection.execute(counted)).scalar_one())

    async def _create_once(self) -> None:
        if self._creates:
            await _create(self._engine, self._address)
            self._creates = False


async def _create(engine: AsyncEngine, address: StoreAddress) -> None:
    if isinstance(address, SqliteAddress):
        with naming_outages():
            await asyncio.to_thread(_make_file, address)
        # Not in the table's definition, which would load SQLite's dialect into every worker.
        _waiting.dialect_options["sqlite"]["autoincrement"] = True
    async with reading(engine) as connection:
        if await has_table(connection, _waiting.name):
            return
    async with writing(engine) as connection:
        await _lock(connection)
        await connection.run_sync(_metadata.create_all)


async def _lock(connection: AsyncConnection) -> None:
    """Let machines that start together create the table one after the other; SQLite's transactions do so anyway."""
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _make_file(address: SqliteAddress) -> None:
    address.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Readable by the owner only; SQLite creates its other files with the mode of this one.
    address.path.touch(mode=0o600, exist_ok=True)


def _text(fact: bytes) -> str:
    """Return the line as text; what the journal did not write may hold anything."""
    return fact.decode("utf-8", "backslashreplace").replace("\0", "\\u0000")
