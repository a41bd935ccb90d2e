"""A backup is one whole state, in a new file; what cannot be backed up is one sentence and leaves nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_gateway.infra.database.address import PostgresAddress, read_address
from llm_gateway.infra.database.backup import back_up_sqlite, pg_dump_command
from llm_gateway.infra.startup_error import StartupError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with two rows."""
    made = tmp_path / "data # 1" / "a database.db"
    made.parent.mkdir()
    with closing(sqlite3.connect(made)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE things (name TEXT)")
        database.executemany("INSERT INTO things VALUES (?)", [("a",), ("b",)])
    return made


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM things ORDER BY name")]


def test_a_backup_holds_what_is_committed_and_nothing_of_open_transactions(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "backup.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO things VALUES ('c')")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO things VALUES ('d')")
        back_up_sqlite(path, target)
        writer.execute("COMMIT")
    assert names(target) == ["a", "b", "c"]
    assert names(path) == ["a", "b", "c", "d"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["backup.db"], (
        "one file, and no other"
    )


def test_nothing_is_overwritten(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("mine")
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    for taken in (target, tmp_path, path, dangling):
        with pytest.raises(StartupError, match="exists already"):
            back_up_sqlite(path, taken)
    assert target.read_text() == "mine"
    assert names(path) == ["a", "b"]


def test_what_cannot_be_backed_up_is_one_sentence_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="There is no database to back up"):
        back_up_sqlite(tmp_path / "missing.db", tmp_path / "backup.db")
    with pytest.raises(StartupError, match="cannot be written: No such file"):
        back_up_sqlite(path, tmp_path / "no" / "folder" / "backup.db")
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StartupError, match="file is not a database"):
        back_up_sqlite(path, tmp_path / "backup.db")
    assert [one for one in tmp_path.iterdir() if one.is_file()] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+asyncpg://me:secret@host:6432/name?statement_cache_size=0", "postgresql://me@host:6432/name"),
        ("postgres://host/name?password=secret", "postgresql://host/name"),
        ("postgresql://me:s%40cret@a:1,b:2/name", "postgresql://me@a:1,b:2/name"),
    ],
)  # fmt: skip
def test_the_command_for_postgresql_holds_no_password(url: str, shown: str) -> None:
    address = read_address(url)
    assert isinstance(address, PostgresAddress)
    command = pg_dump_command(address, Path("my backup.dump"))
    assert command == f"pg_dump --format=custom --file='my backup.dump' {shown}"
