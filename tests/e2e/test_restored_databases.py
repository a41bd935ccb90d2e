"""A database that is replaced or set back under a running gateway: noticed, named, and nothing comes back."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream
from tests.services import run_alone, without_a_part

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-restore.md"
# What the commands of the page are run with.
KEPT = ("DATA_DIR", "DB_URL", "SECRET_KEY", "ADMIN_KEY")

Replace = Callable[[Path, Path], None]


def copy(source: Path, target: Path) -> None:
    """Copy a database in use as the online backup does."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def moved_over(path: Path, backup: Path) -> None:
    backup.replace(path)


def removed_and_copied(path: Path, backup: Path) -> None:
    path.unlink()
    shutil.copy(backup, path)


def moved_away_and_copied(path: Path, backup: Path) -> None:
    path.rename(path.with_name("aside.db"))
    shutil.copy(backup, path)


def removed(path: Path, backup: Path) -> None:
    del backup
    path.unlink()


def made_anew(path: Path, backup: Path) -> None:
    del backup
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (id INTEGER)")


def problem(gateway: GatewayProcess) -> str:
    """Wait until readiness names what is wrong with the database, and return it."""
    body = eventually(lambda: gateway.http.get("/health/ready").json(), lambda body: "database" in body, 5)
    assert body["status"] == "ready", "requests go on"
    details = accepted(gateway.http.get("/health/detailed"))
    assert details["status"] == "degraded"
    assert details["database"] == body["database"]
    return str(body["database"])


def refused(gateway: GatewayProcess, because: str) -> None:
    """Check that nothing can be changed or read by an admin, and that the answer says why."""
    for answer in (
        gateway.admin.post("/credentials", json={"name": "late"}),
        gateway.admin.post("/config/reload"),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "database_unavailable"
        assert because in answer.json()["error"]["message"]
        assert "Restart the gateway" in answer.json()["error"]["message"].replace("restart", "Restart")
    assert because in gateway.stderr.read_text()


def restore(gateway: GatewayProcess, *statements: str) -> None:
    """Set the store of `gateway` back in one transaction, as a restore into a database in use does."""
    url = gateway.settings.get("DB_URL")
    if url is None:
        file = Path(gateway.settings["DATA_DIR"]) / "llm-gateway.db"
        with closing(sqlite3.connect(file, timeout=10)) as database, database:
            for statement in statements:
                database.execute(statement)
        return

    async def work() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.execute(";".join(statements))
        finally:
            await connection.close()

    run_alone(work())


@pytest.mark.parametrize(
    ("replace", "workers"),
    [
        (moved_over, 2),
        (removed_and_copied, 1),
        (moved_away_and_copied, 1),
        (removed, 1),
        (made_anew, 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_replaced_file_is_refused_until_a_restart_and_no_row_is_lost(
    launch: Launch, fake: FakeUpstream, tmp_path: Path, replace: Replace, workers: int
) -> None:
    path = tmp_path / "gateway.db"
    desk = Desk(launch(DB_URL=f"sqlite:///{path}", WORKERS=workers), fake)
    desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    revoked = accepted(gateway.admin.post("/credentials", json={"name": "revoked"}))
    backup = tmp_path / "backup.db"
    copy(path, backup)
    accepted(gateway.admin.patch(f"/credentials/{revoked['id']}", json={"is_enabled": False}))
    replace(path, backup)
    assert ("is gone" if replace is removed else "was replaced") in problem(gateway)
    refused(gateway, "The SQLite database")
    answers = [desk.chat() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert gateway.post("/v1/chat/completions", revoked["key"], json=desk.body()).status_code == 401
    before = path.read_bytes() if path.exists() else b""
    assert gateway.stop() == 0
    assert gateway.distress() == []
    assert (path.read_bytes() if path.exists() else b"") == before, "the new file is left alone"
    if replace is made_anew:
        return
    gateway.start()
    if replace is removed:
        assert gateway.usage_rows() == [], "a new database, with an id of its own"
        waiting = accepted(gateway.http.get("/health/detailed"))["usage"]["other_databases"]
        assert sum(waiting.values()) > 0
        return
    # The backup, and not what the write-ahead log of the other file would make of it.
    assert accepted(gateway.admin.get(f"/credentials/{revoked['id']}"))["is_enabled"]
    assert "Changes since then are undone" in gateway.stderr.read_text()
    for answer in answers:
        assert gateway.usage_row(answer.headers["x-request-id"])["outcome"] == "ok"


def test_the_file_put_back_is_used_again(launch: Launch, fake: FakeUpstream, tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    desk = Desk(launch(DB_URL=f"sqlite:///{path}"), fake)
    desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    aside = tmp_path / "aside.db"
    path.rename(aside)
    problem(gateway)
    answers = [desk.chat() for _ in range(3)]
    aside.rename(path)
    eventually(lambda: gateway.http.get("/health/ready").json(), lambda body: body == {"status": "ready"}, 5)
    for answer in answers:
        assert gateway.usage_row(answer.headers["x-request-id"])["outcome"] == "ok"
    accepted(gateway.admin.post("/credentials", json={"name": "later"}))
    gateway.kill()
    gateway.start()
    assert "later" in [row["name"] for row in accepted(gateway.admin.get("/credentials"))["data"]]


def test_a_backup_restored_into_the_database_in_use_brings_no_revoked_key_back(
    launch: Launch, fake: FakeUpstream, store_url: str | None
) -> None:
    settings = {} if store_url is None else {"DB_URL": store_url}
    desk = Desk(launch(**settings, WORKERS=2), fake)
    desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    revoked = accepted(gateway.admin.post("/credentials", json={"name": "revoked"}))
    version = gateway.config_version()
    path = f"/credentials/{revoked['id']}"
    accepted(gateway.admin.patch(path, json={"is_enabled": False}))
    accepted(gateway.admin.patch(path, json={"rate_limit": 5}))
    # What a restore leads to: the rows of then, with their version.
    restore(
        gateway,
        "UPDATE credentials SET is_enabled = true, rate_limit = NULL WHERE name = 'revoked'",
        f"UPDATE config_state SET version = {version}",
        f"DELETE FROM config_versions WHERE version > {version}",
    )
    assert f"to {version}" in problem(gateway)
    refused(gateway, "went back")
    status: Any = gateway.post("/v1/chat/completions", revoked["key"], json=desk.body()).status_code
    assert status == 401
    answer = desk.chat()
    assert gateway.usage_row(answer.headers["x-request-id"])["outcome"] == "ok", "rows are stored as ever"
    assert gateway.stop() == 0
    assert gateway.distress() == []
    gateway.start()
    assert "Changes since then are undone" in gateway.stderr.read_text()
    accepted(gateway.admin.patch(path, json={"is_enabled": False}))
    assert gateway.http.get("/health/ready").json() == {"status": "ready"}


def commands(page: str, store: str) -> list[str]:
    """Return the shell commands of one store's section of the page, in order."""
    (section,) = [part for part in page.split("\n## ") if part.startswith(store)]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_backup_and_restore_as_documented(
    launch: Launch, fake: FakeUpstream, store_url: str | None, tmp_path: Path
) -> None:
    if store_url is not None and shutil.which("pg_dump") is None:
        without_a_part("needs PostgreSQL: no pg_dump on PATH")
    settings = {} if store_url is None else {"DB_URL": store_url}
    desk = Desk(launch(**settings), fake)
    desk.provider()
    gateway = desk.gateway
    before = desk.chat()
    gateway.usage_row(before.headers["x-request-id"])
    for name in ("backups", "keys"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BACKUPS": str(tmp_path / "backups"),
        "KEYS": str(tmp_path / "keys"),
        **{name: value for name, value in gateway.settings.items() if name in KEPT},
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The page's keys are those of files.
    data = Path(gateway.settings["DATA_DIR"])
    for name in ("secret_key", "admin_key"):
        if store_url is None and not (data / name).exists():
            (data / name).write_text("as in the settings\n")
    back_up, restore_commands = commands(PAGE.read_text(), "SQLite" if store_url is None else "PostgreSQL")
    said = run(back_up)
    if store_url is None:
        assert "Backed up" in said
        assert "secret_key" in said
        assert (
            "exists already"
            in subprocess.run(
                ["sh", "-c", back_up],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).stderr
        )
    late = accepted(gateway.admin.post("/credentials", json={"name": "late"}))
    after = desk.chat()
    gateway.usage_row(after.headers["x-request-id"])
    assert gateway.stop() == 0
    run(restore_commands)
    gateway.start()
    assert desk.chat().status_code == 200, "the provider's secret and the client's key are as they were"
    assert gateway.post("/v1/chat/completions", late["key"], json=desk.body()).status_code == 401
    assert gateway.usage_row(before.headers["x-request-id"])["outcome"] == "ok"
    assert gateway.usage_rows(request_id=after.headers["x-request-id"]) == []
    assert gateway.stop() == 0
    assert gateway.distress() == []
