"""Connections of both stores: one state for a reader, all or nothing for a writer, outages by name."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.address import SqliteAddress
from llm_gateway.infra.database.engine import (
    close_engine,
    make_engine,
    reading,
    writing,
)
from llm_gateway.infra.database.outages import naming_outages
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine
from tests.fakes.stores import Store, opened


async def test_a_database_that_is_gone_is_named_without_a_password(data_dir: Path) -> None:
    with pytest.raises(StoreUnavailable) as gone:
        async with opened("postgresql://u:hunter2@127.0.0.1:1/x", data_dir):
            pass
    assert "hunter2" not in f"{gone.value!r} {gone.value.__cause__!r}"
    assert gone.value.status == 503


async def test_sqlite_is_set_up_to_wait_and_to_keep_what_was_committed(data_dir: Path) -> None:
    async with opened(None, data_dir) as store:
        assert await store.sql("PRAGMA journal_mode") == [("wal",)]
        assert await store.sql("PRAGMA foreign_keys") == [(1,)]
        assert (await store.sql("PRAGMA busy_timeout"))[0][0] >= 5000
        assert (data_dir / "llm-gateway.db").stat().st_mode & 0o777 == 0o600
        assert sqlite3.sqlite_version_info > (3, 35)


# --- transactions ------------------------------------------------------------------------------------

INSERT = "INSERT INTO task_types (name, models) VALUES ('{}', '[]')"
NAMES = "SELECT name FROM task_types ORDER BY name"


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def names(store: Store) -> list[str]:
    return [row.name for row in await store.sql(NAMES)]


async def test_a_writer_commits_at_its_clean_end(store: Store) -> None:
    async with writing(store.engine) as connection:
        for name in "ab":
            await connection.exec_driver_sql(INSERT.format(name))
    assert await names(store) == ["a", "b"]


async def test_a_writer_that_fails_leaves_nothing_and_its_error_passes(store: Store) -> None:
    async def fail() -> None:
        async with writing(store.engine) as connection:
            await connection.exec_driver_sql(INSERT.format("a"))
            raise LookupError("half-way")

    with pytest.raises(LookupError, match="half-way"):
        await fail()
    assert await names(store) == []


async def test_a_writer_that_rolls_back_sees_its_writes_and_leaves_nothing(store: Store) -> None:
    async with writing(store.engine, rollback=True) as connection:
        await connection.exec_driver_sql(INSERT.format("a"))
        assert len((await connection.exec_driver_sql(NAMES)).all()) == 1
    assert await names(store) == []


async def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    await store.sql(INSERT.format("before"))
    async with reading(store.engine) as connection:
        first = (await connection.exec_driver_sql(NAMES)).all()
        await store.sql(INSERT.format("meanwhile"))
        assert (await connection.exec_driver_sql(NAMES)).all() == first
    assert await names(store) == ["before", "meanwhile"]


async def test_a_reader_of_postgresql_cannot_write(postgres_url: str, data_dir: Path) -> None:
    async with opened(postgres_url, data_dir, start=False) as store:
        with pytest.raises(StoreUnavailable, match="read-only"):
            async with reading(store.engine) as connection:
                await connection.exec_driver_sql(INSERT.format("a"))
        assert await names(store) == []


async def test_writers_take_turns(store: Store) -> None:
    await asyncio.gather(*(store.sql(INSERT.format(f"{number:02}")) for number in range(12)))
    assert await names(store) == [f"{number:02}" for number in range(12)]


# --- outages -------------------------------------------------------------------------------------------


async def test_a_statement_that_takes_too_long_is_an_outage(postgres_url: str, data_dir: Path) -> None:
    options = {"command_timeout": 0.2}
    async with opened(postgres_url, data_dir, start=False, engine_options=options) as store:
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await store.sql("SELECT pg_sleep(30)")


async def test_a_locked_sqlite_file_is_an_outage(data_dir: Path) -> None:
    options = {"sqlite_busy_ms": 50}
    async with opened(None, data_dir, start=False, engine_options=options) as store:
        async with writing(store.engine):
            with pytest.raises(StoreUnavailable, match="SQLite: database is locked"):
                await store.sql(INSERT.format("a"))
        await store.sql(INSERT.format("b"))
        assert await names(store) == ["b"]


async def test_a_connection_that_the_server_ends_is_an_outage_and_the_next_one_works(
    postgres_url: str, data_dir: Path
) -> None:
    async with opened(postgres_url, data_dir, start=False) as store:
        with pytest.raises(StoreUnavailable):
            await store.sql("SELECT pg_terminate_backend(pg_backend_pid())")
        assert await names(store) == []


async def test_a_wrong_statement_is_no_outage_and_shows_no_parameter(store: Store) -> None:
    with pytest.raises(DBAPIError) as error:
        await store.sql("SELECT :secret FROM no_such_table WHERE WHERE", secret="hunter2")
    assert "no_such_table" in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PoolTimeoutError(), "all connections are busy"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionRefusedError(111, "hunter2"), "ConnectionRefusedError"),
        (asyncpg.InvalidPasswordError('password authentication failed for user "u"\nhunter2'), 'user "u"'),
        (asyncpg.TooManyConnectionsError("too many clients"), "too many clients"),
        (asyncpg.InterfaceError("connection is closed"), "connection is closed"),
    ],
)
def test_an_outage_has_a_reason_without_a_secret(error: Exception, reason: str) -> None:
    with pytest.raises(StoreUnavailable) as outage, naming_outages():
        raise error
    assert reason in outage.value.message
    assert outage.value.__cause__ is error
    assert "hunter2" not in outage.value.message


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncpg.UniqueViolationError("x"), asyncpg.PostgresSyntaxError("x")]
)
def test_any_other_error_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, naming_outages():
        raise error
    assert passed.value is error


async def test_closing_gives_up_on_a_database_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(SqliteAddress(path=Path("unused.db")))

    async def hang(_engine: AsyncEngine) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(AsyncEngine, "dispose", hang)
    async with asyncio.timeout(5):
        await close_engine(engine, timeout=0.01)
