"""What a database answers, by SQLSTATE or SQLite's code: the operator's problem in one sentence, or a bug."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.outages import naming_outages


def postgres_error(state: str) -> asyncpg.PostgresError:
    made: asyncpg.PostgresError = asyncpg.PostgresError.new(
        {"C": state, "M": "the first line\nhunter2", "S": "ERROR"}
    )
    return made


def named(error: Exception) -> str:
    with pytest.raises(StoreUnavailable) as outage, naming_outages():
        raise error
    assert outage.value.status == 503
    assert "\n" not in outage.value.message
    assert "hunter2" not in outage.value.message
    return outage.value.message


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("08006", ""), ("08P01", ""), ("28000", ""), ("28P01", ""), ("3D000", ""), ("53100", ""), ("53200", ""),
        ("53300", ""), ("54000", ""), ("55000", ""), ("55006", ""), ("57014", ""), ("57P01", ""), ("57P03", ""),
        ("58030", ""), ("58P01", ""), ("40001", ""), ("40P01", ""), ("25P03", ""), ("P0001", ""), ("XX000", ""),
        ("XX001", ""),
        ("25006", "primary"), ("42501", "CREATE"), ("42P01", "migrate up"), ("42703", "migrate up"),
        ("3F000", "migrate up"), ("42883", "migrate up"), ("42P07", "alembic_version"), ("55P03", "pg_stat_activity"),
        ("26000", "statement_cache_size=0"), ("42P05", "statement_cache_size=0"), ("0A000", "statement_cache_size=0"),
    ],
)  # fmt: skip
def test_the_operators_problems_by_sqlstate(state: str, advice: str) -> None:
    message = named(postgres_error(state))
    assert message.startswith("The database is not available (the first line")
    assert advice in message


@pytest.mark.parametrize("state", ["42601", "42702", "23505", "23502", "22P02", "22003", "21000", "99999"])
def test_bugs_and_values_are_no_outage(state: str) -> None:
    error = postgres_error(state)
    with pytest.raises(asyncpg.PostgresError) as passed, naming_outages():
        raise error
    assert passed.value is error


def failing(statement: str, path: Path) -> sqlite3.Error:
    with closing(sqlite3.connect(path)) as connection:
        try:
            for part in statement.split(";"):
                connection.execute(part).fetchall()
        except sqlite3.Error as error:
            return error
    raise AssertionError(statement)


def test_sqlite_in_each_of_its_ways(tmp_path: Path) -> None:
    good = tmp_path / "good.db"
    with closing(sqlite3.connect(good)) as connection, connection:
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, y NOT NULL)")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    assert "restore it from a backup" in named(failing("SELECT * FROM t", damaged))
    assert "exist" in named(_cannot_open(tmp_path))
    assert "room on the disk" in named(failing(f"PRAGMA max_page_count = 2;{_LARGE}", good))
    assert "writable" in named(failing("PRAGMA query_only = ON;INSERT INTO t VALUES (1, 1)", good))
    assert "lock" in named(_locked(good))
    assert "migrate up" in named(failing("SELECT * FROM gone", good))
    assert "migrate up" in named(failing("SELECT gone FROM t", good))
    assert "migrate up" in named(failing("INSERT INTO t (gone) VALUES (1)", good))


_LARGE = "INSERT INTO t VALUES (1, zeroblob(1000000))"


def _cannot_open(folder: Path) -> sqlite3.Error:
    try:
        sqlite3.connect(folder / "missing" / "x.db")
    except sqlite3.Error as error:
        return error
    raise AssertionError


def _locked(path: Path) -> sqlite3.Error:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            try:
                connection.execute("SELECT * FROM t")
            except sqlite3.Error as error:
                return error
    raise AssertionError


def test_sqlite_bugs_and_values_are_no_outage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, y NOT NULL)")
    for statement in (
        "SELECT x FROM t WHERE WHERE",
        "INSERT INTO t VALUES (1, NULL)",
        "INSERT INTO t VALUES ('x', 1)",
    ):
        error = failing(statement, path)
        with pytest.raises(sqlite3.Error) as passed, naming_outages():
            raise error
        assert passed.value is error


def test_an_error_of_pythons_module_is_no_answer_of_sqlites() -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError, match="Could not decode"),
        naming_outages(),
    ):
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
