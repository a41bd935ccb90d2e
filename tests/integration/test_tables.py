"""The tables in the code and what a store makes of their types."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from llm_gateway.infra.database import migrating, schema, tables
from llm_gateway.infra.database.address import SqliteAddress, StoreAddress, embedded_address, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, reading, writing


@pytest.fixture
def address(store_url: str | None, data_dir: Path) -> StoreAddress:
    return embedded_address(data_dir / "new") if store_url is None else read_address(store_url)


async def test_migrations_make_the_tables_of_the_code(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    engine = make_engine(address)

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    async with reading(engine) as connection:
        assert await connection.run_sync(differences) == []
    await close_engine(engine)


# --- times -------------------------------------------------------------------------------------------

LATE = 253_402_300_799_999_999


@pytest.mark.parametrize("unix_us", [0, 1, -1, 1_790_000_000_123_457, LATE])
def test_a_time_survives_the_way_to_a_datetime_and_back(unix_us: int) -> None:
    moment = tables.to_datetime(unix_us)
    assert moment.utcoffset() == timedelta(0)
    assert tables.to_unix_us(moment) == unix_us


def test_a_time_of_another_zone_is_the_same_microsecond() -> None:
    moment = datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert tables.to_unix_us(moment) == 0


@pytest.mark.parametrize("unix_us", [0, 1_790_000_000_123_457, LATE // 2 + 1])
async def test_a_store_keeps_every_microsecond(address: StoreAddress, unix_us: int) -> None:
    await migrating.migrate_up(address)
    engine = make_engine(address)
    values = {"version": 2, "created_at": unix_us, "actor": "admin", "action": "x"}
    async with writing(engine) as connection:
        await connection.execute(sa.insert(tables.config_versions), values)
    column = tables.config_versions.c.created_at
    async with reading(engine) as connection:
        assert (await connection.execute(sa.select(column))).scalar_one() == unix_us
        earlier = sa.select(sa.func.count()).where(column < unix_us)
        assert (await connection.execute(earlier)).scalar_one() == 0
        native = (await connection.exec_driver_sql("SELECT created_at FROM config_versions")).scalar_one()
    await close_engine(engine)
    assert native == (unix_us if isinstance(address, SqliteAddress) else tables.to_datetime(unix_us))


async def test_the_one_row_of_the_version_is_the_only_one(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    engine = make_engine(address)
    with pytest.raises(IntegrityError):
        async with writing(engine) as connection:
            await connection.execute(sa.insert(tables.config_state), {"id": 2, "version": 1})
    await close_engine(engine)
