"""Each database has its own folder below DATA_DIR, found by id, and by address while the database is down."""

from __future__ import annotations

from pathlib import Path

import pytest
from loguru import logger

from llm_gateway.infra.database.address import read_address
from llm_gateway.infra.database.folders import DatabaseFolders
from llm_gateway.infra.startup_error import StartupError

PLAIN = "postgresql://u:secret@db.example:5432/gateway"


@pytest.mark.parametrize(
    "spelling",
    [
        "postgres://u:secret@db.example:5432/gateway",
        "postgresql+asyncpg://u:secret@db.example/gateway",
        "postgresql://u:another@DB.Example/gateway?sslmode=require",
        "postgresql://u@db.example/gateway?connect_timeout=3",
        "postgresql://u@/gateway?host=db.example&port=5432",
        "postgresql://%75@db.example/gate%77ay",
    ],
)
def test_spellings_of_one_address_find_one_folder(tmp_path: Path, spelling: str) -> None:
    folders = DatabaseFolders(tmp_path)
    folder = folders.open(read_address(PLAIN), "aa11")
    assert folder == tmp_path / "databases" / "aa11"
    assert folders.recall(read_address(spelling)) == "aa11"


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://u@db.example:5433/gateway",
        "postgresql://u@db.example/other",
        "postgresql://u@other.example/gateway",
        "postgresql://someone@db.example/gateway",
        "postgresql://u@db.example/gateway?options=-c%20search_path%3Dtenant",
        "sqlite:///gateway.db",
    ],
)
def test_another_address_finds_nothing(tmp_path: Path, other: str) -> None:
    folders = DatabaseFolders(tmp_path)
    folders.open(read_address(PLAIN), "aa11")
    assert folders.recall(read_address(other)) is None


def test_an_sqlite_file_is_found_by_every_path_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")
    folders = DatabaseFolders(tmp_path)
    folders.open(read_address("sqlite:///x.db"), "aa11")
    for path in ("./x.db", f"/{tmp_path}/x.db", "link.db"):
        assert folders.recall(read_address(f"sqlite:///{path}")) == "aa11"


def test_an_address_leads_to_the_database_that_answered_there_last(tmp_path: Path) -> None:
    folders, address = DatabaseFolders(tmp_path), read_address(PLAIN)
    folders.open(address, "aa11")
    folders.open(address, "bb22")
    assert folders.recall(address) == "bb22"
    assert set(folders.names().values()) == {"db.example:5432/gateway"}
    assert len(folders.names()) == 2


def test_no_file_holds_a_password_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    folder = DatabaseFolders(tmp_path).open(read_address(PLAIN), "aa11")
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert "secret" not in path.read_text() + path.name
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("database_id", ["", "..", "a/b", "../../etc", "x" * 65, "a b"])
def test_an_id_that_is_no_folder_name_is_a_start_error(tmp_path: Path, database_id: str) -> None:
    with pytest.raises(StartupError, match="database_identity"):
        DatabaseFolders(tmp_path).open(read_address(PLAIN), database_id)
    assert not (tmp_path / "databases").exists()


def test_a_damaged_pointer_or_a_missing_folder_is_an_unknown_address(tmp_path: Path) -> None:
    folders, address = DatabaseFolders(tmp_path), read_address(PLAIN)
    folder = folders.open(address, "aa11")
    [pointer] = (tmp_path / "databases").glob("at-*")
    for content in (b"", b"\xff", b"../..\n", b"cc33\n"):
        pointer.write_bytes(content)
        assert folders.recall(address) is None
    assert folders.open(address, "aa11") == folder
    assert folders.recall(address) == "aa11"


def test_a_full_disk_does_not_keep_a_known_database_from_being_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    folders, address = DatabaseFolders(tmp_path), read_address(PLAIN)
    folders.open(address, "aa11")
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert folders.open(address, "aa11") == tmp_path / "databases" / "aa11"
    # Nothing to write there; of another database it cannot be noted, which is no reason to stop.
    assert folders.open(address, "bb22") == tmp_path / "databases" / "bb22"
    assert folders.recall(address) == "aa11"


def test_a_data_dir_that_cannot_be_written_is_a_start_error(tmp_path: Path) -> None:
    (tmp_path / "databases").write_text("a file")
    with pytest.raises(StartupError, match="DATA_DIR"):
        DatabaseFolders(tmp_path).open(read_address(PLAIN), "aa11")
    assert DatabaseFolders(tmp_path).names() == {}


def test_one_id_at_two_addresses_is_told(tmp_path: Path) -> None:
    """A copy that keeps its id gets the other one's usage records."""
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(str(line)), level="WARNING", format="{message}")
    try:
        folders = DatabaseFolders(tmp_path)
        folders.open(read_address(PLAIN), "aa11")
        folders.open(read_address(PLAIN), "aa11")
        folders.open(read_address("postgresql://u:secret@db.example/other"), "bb22")
        assert logged == []
        folders.open(read_address("postgresql://u:secret@db.example/copy"), "aa11")
    finally:
        logger.remove(sink)
    [line] = logged
    assert line.startswith("The database at db.example/copy has the id of the one at db.example:5432/gateway")
    assert "secret" not in line
