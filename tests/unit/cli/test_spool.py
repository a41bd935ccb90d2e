"""`usage spool`: what it prints, as text and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner

from llm_gateway.app.operations.spool import BackupContents, DatabaseJournal, ProcessJournal, Spool
from llm_gateway.cli import commands
from llm_gateway.cli.spool import spool_lines
from llm_gateway.infra.journal.waiting import Waiting

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
OLDEST = int(NOW.timestamp() * 1e6) - 600_000_000


def database(*processes: ProcessJournal, **changes: object) -> DatabaseJournal:
    values = {
        "database": "db:5432/gateway",
        "id": "abc",
        "folder": "data/databases/abc/journal",
        "is_current": True,
        "is_shipped": False,
        "store": None,
        "csv_copy": None,
        "rejected": 0,
        "processes": list(processes),
        **changes,
    }
    return DatabaseJournal(**values)  # type: ignore[arg-type]


def text(*databases: DatabaseJournal, backup: BackupContents | None = None) -> str:
    return "\n".join(spool_lines(Spool(list(databases), backup), NOW))


def test_what_waits_and_what_to_do_is_said() -> None:
    waiting = Waiting(files=2, size=4312, records=12, attempts=1, events=3, oldest=OLDEST)
    assert text(database(ProcessJournal("17-1", False, waiting), rejected=2)) == (
        "Database db:5432/gateway (id abc)\n"
        "  journal: data/databases/abc/journal\n"
        "  No gateway is running with it.\n"
        "  waiting: 12 requests, 1 failed attempt and 3 events in 2 files (4,312 bytes), the oldest"
        " from 2026-01-31 11:50:00 UTC (10 minutes ago)\n"
        "    process 17-1 (ended): 12 requests, 1 failed attempt and 3 events in 2 files (4,312 bytes), the oldest"
        " from 2026-01-31 11:50:00 UTC (10 minutes ago)\n"
        "  rejected: 2 records; rejected.jsonl in the journal's folder says why\n"
        "  Start the gateway, or run `llm-gateway usage spool --ship`."
    )


def test_a_running_gateway_says_where_records_go() -> None:
    shown = text(database(is_shipped=True, store="none", csv_copy="data/telemetry_logs/telemetry.csv"))
    assert "A gateway is running; no database takes usage records at the moment." in shown
    assert "readable copy: data/telemetry_logs/telemetry.csv" in shown
    assert "--ship" not in shown
    assert "go to the backup database" in text(database(is_shipped=True, store="backup"))
    assert "go to the database." in text(database(is_shipped=True, store="primary"))


def test_another_database_and_the_backup_are_named() -> None:
    process = ProcessJournal("17-1", True, Waiting(records=1))
    shown = text(database(process, is_current=False), backup=BackupContents("backup:5432/spare", 1, None))
    assert "Database db:5432/gateway (id abc), not the one of DB_URL" in shown
    assert "Set DB_URL to this database" in shown
    assert "Backup backup:5432/spare (BACKUP_DB_URL): 1 record to move into the database" in shown
    assert "does not answer" in text(backup=BackupContents("b", None, "it does not answer"))


def test_the_command_ships_and_prints(tmp_path: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(commands._cli, ["usage", "spool"])
    assert first.exit_code == 0, first.output
    assert first.stdout == "Nothing waits: no gateway has served from this DATA_DIR.\n"
    shipped = runner.invoke(commands._cli, ["usage", "spool", "--ship", "--json"])
    assert shipped.exit_code == 0, shipped.output
    [one] = json.loads(shipped.stdout)["databases"]
    assert one["is_current"]
    assert one["processes"] == []


def test_a_database_that_cannot_be_used_fails_the_command_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = CliRunner(env={"DB_URL": f"sqlite:///{tmp_path}/file/gateway.db"})
    result = runner.invoke(commands._cli, ["usage", "spool", "--ship"])
    assert result.exit_code == 1
    assert "The database is not available" in result.stderr
