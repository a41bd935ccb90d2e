"""DB_URL in its usual spellings, and what is said of the others (C22, S4.16)."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.infra.database.address import (
    PostgresAddress,
    SqliteAddress,
    embedded_address,
    read_address,
)
from llm_gateway.infra.startup_error import StartupError


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql://u:p@h/d"),
        ("  postgresql://u:p@h/d\n", "postgresql://u:p@h/d"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:p%40ss@h/d"),
        ("postgresql://u@h1:1,h2:2/d", "postgresql://u@h1:1,h2:2/d"),
        ("postgresql://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=%2Frun%2Fpostgresql"),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=/ca", "postgresql://h/d?sslmode=verify-full&sslrootcert=%2Fca"),
        ("postgresql+asyncpg://h/d?ssl=require", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?channel_binding=prefer&keepalives=1", "postgresql://h/d"),
        ("postgresql://h/d?options=-c%20search_path%3Dx", "postgresql://h/d?options=-c%20search_path%3Dx"),
    ],
)  # fmt: skip
def test_s4_16_postgres_urls(url: str, dsn: str) -> None:
    address = read_address(url)
    assert isinstance(address, PostgresAddress)
    assert address.dsn == dsn


def test_options_that_asyncpg_takes_apart_from_the_url() -> None:
    address = read_address("postgresql://h/d?connect_timeout=3&prepared_statement_cache_size=0")
    assert isinstance(address, PostgresAddress)
    assert (address.connect_timeout, address.statement_cache_size) == (3.0, 0)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/x.db", "data/x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("sqlite+aiosqlite:///x.db", "x.db"),
    ],
)
def test_sqlite_urls(url: str, path: str) -> None:
    assert read_address(url) == SqliteAddress(path=Path(path))


def test_c22_without_db_url_the_database_is_a_file_in_data_dir() -> None:
    assert embedded_address(Path("data")).path == Path("data/llm-gateway.db")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:hunter2@h/d", "postgresql://"),
        ("hunter2", "postgresql://"),
        ("sqlite://", "sqlite:///"),
        ("sqlite:///:memory:", "file"),
        ("sqlite:///", "file"),
        ("sqlite:///x.db?mode=ro", "options"),
        ("postgresql://u:hunter2@h:port/d", "percent-encode"),
        ("postgresql://u:hunter2@[h/d", "percent-encode"),
        ("postgresql://u:hunter2#x@h/d", "%23"),
        ("postgresql://u:hunter2@h/d?sslmode=perhaps", "sslmode"),
        ("postgresql://u:hunter2@h/d?channel_binding=require", "channel_binding"),
        ("postgresql://u:hunter2@h/d?connect_timeout=soon", "connect_timeout"),
        ("postgresql://u:hunter2@h/d?work_mem=1", "options=-c"),
    ],
)
def test_what_is_refused_names_the_fault_and_no_password(url: str, says: str) -> None:
    with pytest.raises(StartupError) as fault:
        read_address(url)
    assert says in str(fault.value)
    assert "DB_URL" in str(fault.value)
    assert "hunter2" not in str(fault.value)


def test_messages_and_reprs_show_no_password() -> None:
    address = read_address("postgresql://u:hunter2@db.example:5433/gateway?sslmode=require")
    assert address.shown == "db.example:5433/gateway"
    assert "hunter2" not in f"{address} {address!r}"
    assert read_address("postgresql:///d?host=/run/pg&password=hunter2").shown == "/run/pg/d"
