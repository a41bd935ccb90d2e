"""What waits is shown without touching it, and shipped by hand beside a running gateway or without one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llm_gateway.app.data_folder import JOURNAL
from llm_gateway.app.keys import find_keys
from llm_gateway.app.operations.preparing import prepare
from llm_gateway.app.operations.spool import ship_spool, show_spool
from llm_gateway.app.storage import open_storage
from llm_gateway.core.secret import Secret
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.reading import setting_names
from tests.fakes.usage_records import attempt, failed_attempt, record

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in setting_names(Settings):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


async def journal_of(settings: Settings) -> Path:
    """Prepare the database, and return the folder of its journal."""
    await prepare(settings)
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        return storage.folder / JOURNAL


def rows(settings: Settings) -> int:
    with closing(sqlite3.connect(settings.data_dir / "llm-gateway.db")) as connection:
        found: int = connection.execute("SELECT count(*) FROM usage").fetchone()[0]
        return found


async def test_nothing_is_shown_and_made_where_no_gateway_was(settings: Settings) -> None:
    assert (await show_spool(settings)).databases == []
    assert not settings.data_dir.exists()


async def test_what_waits_is_shown_by_process(settings: Settings) -> None:
    folder = await journal_of(settings)
    journals = [FileJournal(folder, 64 * MB, SystemClock()) for _ in range(2)]
    journals[0].attempt_ended(failed_attempt("a"))
    journals[0].end(record("a"))
    journals[1].end(record("b"))
    journals[1].close()
    (folder / "rejected.jsonl").write_text("{}\n{}\n")
    spool = await show_spool(settings)
    [one] = spool.databases
    assert one.database == str(settings.data_dir / "llm-gateway.db")
    assert (one.is_current, one.is_shipped, one.store, one.rejected) == (True, False, None, 2)
    shown = {
        (process.is_running, process.waiting.records, process.waiting.attempts) for process in one.processes
    }
    assert shown == {(True, 1, 1), (False, 1, 0)}
    assert spool.backup is None
    # Looking changes nothing.
    assert await show_spool(settings) == spool
    journals[0].close()


async def test_a_stopped_gateways_records_are_shipped(settings: Settings) -> None:
    folder = await journal_of(settings)
    journal = FileJournal(folder, 64 * MB, SystemClock())
    journal.begin(attempt("open"))
    for number in range(2500):
        journal.end(record(str(number)))
    journal.close()
    assert await ship_spool(settings, 60)
    assert rows(settings) == 2501
    assert (await show_spool(settings)).databases[0].processes == []
    assert await ship_spool(settings, 60)
    assert rows(settings) == 2501


async def test_beside_a_running_gateway_it_only_waits(settings: Settings) -> None:
    folder = await journal_of(settings)
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        gateway = Shipper(folder, storage.usage, SystemClock())
        gateway.start()
        journal = FileJournal(folder, 64 * MB, SystemClock())
        while not (await show_spool(settings)).databases[0].is_shipped:  # noqa: ASYNC110 - a lock
            await asyncio.sleep(0.01)
        journal.end(record("a"))
        assert await ship_spool(settings, 30)
        assert rows(settings) == 1
        assert gateway.shipped == 1
        journal.close()
        await gateway.drain(5)


async def test_what_the_backup_holds_is_shown_and_moved(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, backup_db_url=Secret(f"sqlite:///{tmp_path}/backup/backup.db"))
    await journal_of(settings)
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        assert storage.usage_backup is not None
        await storage.usage_backup.add([b'{"t":"end"}', b"rubbish"])
        await storage.usage_backup.add([to_line(record(str(number))) for number in range(1500)])
    shown = (await show_spool(settings)).backup
    assert shown is not None
    assert (shown.database, shown.records) == (f"{tmp_path}/backup/backup.db", 1502)
    assert await ship_spool(settings, 60)
    after = await show_spool(settings)
    assert after.backup is not None
    assert after.backup.records == 0
    assert rows(settings) == 1500
    assert after.databases[0].rejected == 2


async def test_looking_does_not_make_a_backup_and_one_that_fails_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "backup.db"
    settings = replace(settings, backup_db_url=Secret(f"sqlite:///{path}"))
    shown = (await show_spool(settings)).backup
    assert shown is not None
    assert (shown.database, shown.records) == (str(path), 0)
    assert not path.exists()
    path.write_text("no database " * 100)
    shown = (await show_spool(settings)).backup
    assert shown is not None
    assert shown.records is None
    assert shown.problem is not None
    assert "damaged" in shown.problem


async def test_a_journal_that_cannot_be_read_is_named(settings: Settings) -> None:
    folder = await journal_of(settings)
    folder.parent.joinpath(JOURNAL).mkdir(exist_ok=True)
    (folder / "rejected.jsonl").mkdir()
    with pytest.raises(StartupError, match="run the command as the gateway's user"):
        await show_spool(settings)
