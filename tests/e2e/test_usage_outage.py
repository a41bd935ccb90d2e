"""While the database is away, usage records go to the backup, else to a readable CSV copy, and come back once."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import accepted, eventually
from tests.e2e.sql import run_sql
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream


def backed_up(path: Path) -> list[str]:
    """Return the lines in an SQLite backup."""
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return [line for (line,) in connection.execute("SELECT record FROM usage_backup ORDER BY number")]


def usage(desk: Desk) -> dict[str, Any]:
    shown: dict[str, Any] = accepted(desk.gateway.http.get("/health/detailed"))["usage"]
    return shown


def copied(desk: Desk) -> list[str]:
    """Return the ids in the CSV copy."""
    path = Path(desk.gateway.settings["DATA_DIR"]) / "telemetry_logs" / "telemetry.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row["request_id"] for row in csv.DictReader(file)]


def chat(desk: Desk) -> str:
    """Send a request, which must not wait for any database, and return its id."""
    began = time.monotonic()
    answer = desk.chat()
    assert answer.status_code == 200
    assert time.monotonic() - began < 2
    request_id: str = answer.headers["x-request-id"]
    return request_id


def check_rows(desk: Desk, ids: list[str]) -> None:
    """Check that the database has one row of each request, and one of its attempt."""
    rows = run_sql(desk.gateway, "SELECT request_id FROM usage")
    assert sorted(row[0] for row in rows) == sorted(ids)
    attempts = run_sql(desk.gateway, "SELECT request_id FROM usage_attempts")
    assert sorted(row[0] for row in attempts) == sorted(ids)


@pytest.mark.parametrize(("workers", "dies"), [(1, False), (2, True)])
def test_s0_5_s1_22_the_backup_takes_over_and_gives_back(
    launch: Launch,
    fake: FakeUpstream,
    proxy: TcpProxy,
    proxied_url: str,
    tmp_path: Path,
    workers: int,
    dies: bool,
) -> None:
    backup = tmp_path / "backup.db"
    desk = Desk(launch(DB_URL=proxied_url, BACKUP_DB_URL=f"sqlite:///{backup}", WORKERS=workers), fake)
    desk.provider()
    ids = [chat(desk)]
    assert backed_up(backup) == []
    proxy.cut()
    ids += [chat(desk) for _ in range(10)]
    eventually(lambda: backed_up(backup), lambda lines: len(lines) >= 10, 20)
    assert eventually(lambda: usage(desk), lambda shown: shown["store"] == "backup")["backup_holds_records"]
    assert desk.gateway.metrics("llm_gateway_usage_backup_in_use") == 1
    # The backup is not read: what it has is a part only.
    assert desk.gateway.admin.get("/usage").status_code == 503
    if dies:
        desk.gateway.kill()
        desk.gateway.start()
        ids += [chat(desk) for _ in range(3)]
    proxy.restore()
    eventually(lambda: usage(desk), lambda shown: shown["store"] == "primary", 20)
    ids.append(chat(desk))
    eventually(desk.gateway.usage_rows, lambda rows: len(rows) == len(ids), 20)
    eventually(lambda: usage(desk), lambda shown: not shown["backup_holds_records"], 20)
    assert backed_up(backup) == []
    check_rows(desk, ids)
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []


@pytest.mark.parametrize("fault", ["cut", "freeze"])
def test_s0_5_s1_21_s1_22_without_a_backup_a_csv_copy_can_be_read(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str, fault: str
) -> None:
    desk = Desk(launch(DB_URL=proxied_url), fake)
    desk.provider()
    ids = [chat(desk)]
    eventually(desk.gateway.usage_rows, lambda rows: len(rows) == 1)
    getattr(proxy, fault)()
    later = [chat(desk) for _ in range(5)]
    eventually(lambda: copied(desk), lambda found: sorted(found) == sorted(later), 2)
    later.append(chat(desk))
    eventually(lambda: copied(desk), lambda found: sorted(found) == sorted(later), 2)
    shown = usage(desk)
    assert shown["store"] == "none"
    assert shown["csv_copy"].endswith("telemetry_logs/telemetry.csv")
    assert shown["oldest_record_seconds"] > 0
    assert desk.gateway.metrics("llm_gateway_usage_store_down") == 1
    assert desk.gateway.metrics("llm_gateway_journal_oldest_record_seconds") > 0
    proxy.restore()
    eventually(lambda: copied(desk), lambda found: not found, 30)
    assert eventually(lambda: usage(desk), lambda shown: shown["store"] == "primary")["csv_copy"] is None
    check_rows(desk, ids + later)
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        pytest.param(
            lambda tmp_path: {"BACKUP_DB_URL": "postgresql://me:hunter2@127.0.0.1:9/none"},
            "BACKUP_DB_URL",
            id="s1_22_backup",
        ),
        pytest.param(
            lambda tmp_path: {"MONGO_URI": "mongodb://me:hunter2@127.0.0.1/dgen_db"},
            "DB_URL names",
            id="s0_16_s1_13_mongo_uri",
        ),
        pytest.param(lambda tmp_path: {"DB_NAME": "dgen_db"}, "DB_URL ends", id="s0_17_db_name"),
        pytest.param(
            lambda tmp_path: {"CSV_FALLBACK_DIR": "/proc/no/such/folder"}, None, id="s0_31_csv_fallback_dir"
        ),
    ],
)
def test_s0_5_what_cannot_be_used_is_a_warning(
    launch: Launch,
    fake: FakeUpstream,
    tmp_path: Path,
    settings: Callable[[Path], dict[str, str]],
    warning: str | None,
) -> None:
    desk = Desk(launch(**settings(tmp_path)), fake)
    desk.provider()
    request_id = chat(desk)
    assert desk.gateway.usage_row(request_id)["outcome"] == "ok"
    assert desk.gateway.stop() == 0
    log = desk.gateway.stderr.read_text()
    assert warning is None or any(warning in line for line in log.splitlines() if "WARNING" in line)
    assert "hunter2" not in log
    assert desk.gateway.distress() == []


def test_always_syncs_before_the_client_has_its_reply(launch: Launch, fake: FakeUpstream) -> None:
    desk = Desk(launch(USAGE_FSYNC="always"), fake)
    desk.provider()
    ids = [chat(desk) for _ in range(5)]
    assert all(desk.gateway.usage_row(one)["outcome"] == "ok" for one in ids)
    assert usage(desk)["sync_failures"] == 0
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []


def spool(desk: Desk, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `llm-gateway usage spool` with the settings of the gateway."""
    return subprocess.run(
        [sys.executable, "-m", "llm_gateway", "usage", "spool", *options],
        cwd=desk.gateway.folder,
        env={"PATH": os.environ["PATH"], **desk.gateway.settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_operator_sees_what_waits_and_ships_it_by_hand(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str, tmp_path: Path
) -> None:
    backup = f"sqlite:///{tmp_path}/backup.db"
    desk = Desk(launch(DB_URL=proxied_url), fake)
    desk.provider()
    ids = [chat(desk)]
    eventually(desk.gateway.usage_rows, lambda rows: len(rows) == 1)
    proxy.cut()
    ids += [chat(desk) for _ in range(5)]
    eventually(lambda: usage(desk), lambda shown: shown["store"] == "none")
    shown = json.loads(spool(desk, "--json").stdout)
    [one] = shown["databases"]
    assert (one["is_current"], one["is_shipped"], one["store"]) == (True, True, "none")
    assert one["processes"][0]["waiting"]["records"] == 5
    assert desk.gateway.stop() == 0
    # Nobody takes them: they stay, and the operator is told.
    failed = spool(desk, "--ship", "--timeout", "1")
    assert failed.returncode == 1
    assert "not everything was shipped within 1 s" in failed.stderr
    assert "hunter2" not in failed.stderr + failed.stdout
    assert "5 requests" in failed.stdout
    proxy.restore()
    shipped = spool(desk, "--ship")
    assert shipped.returncode == 0, shipped.stderr
    assert "waiting: 0 requests" in shipped.stdout
    check_rows(desk, ids)
    # Beside a running gateway, which also moves what the backup holds.
    desk.gateway.settings["BACKUP_DB_URL"] = backup
    desk.gateway.start()
    ids.append(chat(desk))
    eventually(desk.gateway.usage_rows, lambda rows: len(rows) == len(ids))
    proxy.cut()
    ids += [chat(desk) for _ in range(3)]
    eventually(lambda: usage(desk), lambda shown: shown["store"] == "backup", 20)
    proxy.restore()
    shipped = spool(desk, "--ship")
    assert shipped.returncode == 0, shipped.stderr
    assert "0 records to move" in shipped.stdout
    check_rows(desk, ids)
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []
