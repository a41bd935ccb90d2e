"""A database that answers and refuses: one sentence for the operator, the copy is served, also by a restart."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database, run_alone, without_a_part


def run(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    run_alone(work())


class Database:
    """A PostgreSQL database with a role of its own that owns nothing but what it makes."""

    def __init__(self, url: str, role: str) -> None:
        self.owner_url = url
        self.role = role
        self.name = urlsplit(url).path[1:]
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit(parts._replace(netloc=f"{role}:secret-of-the-role@{host}"))

    def run(self, *statements: str) -> None:
        run(self.owner_url, *(one.format(role=self.role, name=self.name) for one in statements))


@pytest.fixture
def database(services: Services) -> Iterator[Database]:
    """Yield a fresh database whose role may create tables; both are dropped afterwards."""
    server = services.url_or_skip("PostgreSQL")
    role = f"llm_gateway_test_{os.getpid()}_{secrets.token_hex(4)}"
    try:
        run(server, f"CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'")
    except asyncpg.InsufficientPrivilegeError:
        without_a_part("needs PostgreSQL: with a user that may create roles")
    with fresh_database(server) as url:
        made = Database(url, role)
        made.run("GRANT CREATE ON SCHEMA public TO {role}")
        try:
            yield made
        finally:
            made.run("DROP OWNED BY {role} CASCADE")
    run(server, f"DROP ROLE {role}")


# What an operator or another program does to the database, and what the gateway is to say of it.
REFUSALS = {
    "rights": (["REVOKE ALL ON providers, usage, config_state FROM {role}"], "permission denied"),
    "dropped": (["ALTER TABLE providers RENAME TO gone"], "migrate up"),
    "column": (["ALTER TABLE providers RENAME weight TO gone"], "migrate up"),
    "schema": (["REVOKE USAGE ON SCHEMA public FROM PUBLIC, {role}"], "migrate up"),
    "login": (["ALTER ROLE {role} NOLOGIN"], "not permitted to log in"),
    "connect": (['REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC, {role}'], "permission denied for database"),
    "not accepting": (['ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'], "not currently accepting"),
}  # fmt: skip
REVIVALS = {
    "rights": ["GRANT ALL ON providers, usage, config_state TO {role}"],
    "dropped": ["ALTER TABLE gone RENAME TO providers"],
    "column": ["ALTER TABLE providers RENAME gone TO weight"],
    "schema": ["GRANT USAGE ON SCHEMA public TO {role}"],
    "login": ["ALTER ROLE {role} LOGIN"],
    "connect": ['GRANT CONNECT ON DATABASE "{name}" TO PUBLIC'],
    "not accepting": [],
}  # fmt: skip
_END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"


def refused(gateway: GatewayProcess, says: str) -> None:
    """Check that an admin gets the sentence, with 503 and no traceback."""
    for method, path in (("GET", "/providers"), ("POST", "/config/reload")):
        answer = gateway.admin.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable"), (
            answer.text
        )
        assert says in answer.json()["error"]["message"]
        assert "secret-of-the-role" not in answer.text


@pytest.mark.parametrize("how", [how for how in REFUSALS if how != "not accepting"])
def test_what_postgresql_refuses_is_one_sentence_and_the_copy_is_served(
    launch: Launch, fake: FakeUpstream, database: Database, how: str
) -> None:
    statements, says = REFUSALS[how]
    desk = Desk(launch(DB_URL=database.url), fake)
    desk.provider()
    gateway = desk.gateway
    ids = {desk.chat().headers["x-request-id"]}
    eventually(lambda: len(gateway.usage_rows()), lambda count: count == 1)
    database.run(*statements, _END_OTHERS)
    refused(gateway, says)
    # A thread writes the log.
    eventually(gateway.stderr.read_text, lambda text: says in text)
    ids.add(desk.chat().headers["x-request-id"])
    assert gateway.stop() == 0
    # A restart serves the copy, too.
    lines = len(gateway.stderr.read_text().splitlines())
    gateway.start()
    ids.add(desk.chat().headers["x-request-id"])
    refused(gateway, says)
    printed = gateway.stderr.read_text().splitlines()[lines:]
    assert len(printed) < 12, printed
    database.run(*REVIVALS[how])
    eventually(
        lambda: (
            {row["request_id"] for row in gateway.usage_rows()}
            if gateway.admin.get("/usage").status_code == 200
            else set()
        ),
        lambda seen: seen == ids,
        20,
    )
    assert gateway.stop() == 0
    assert gateway.distress() == []
    assert "secret-of-the-role" not in gateway.stderr.read_text()


def test_a_database_that_takes_no_writes_is_read_and_the_records_wait(
    launch: Launch, fake: FakeUpstream, database: Database
) -> None:
    desk = Desk(launch(DB_URL=database.url), fake)
    lane = desk.provider()
    gateway = desk.gateway
    ids = {desk.chat().headers["x-request-id"]}
    eventually(lambda: len(gateway.usage_rows()), lambda count: count == 1)
    database.run('ALTER DATABASE "{name}" SET default_transaction_read_only = on', _END_OTHERS)
    answer = eventually(
        lambda: gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 3}),
        lambda response: "read-only" in response.text,
        10,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert "primary" in answer.json()["error"]["message"]
    ids.add(desk.chat().headers["x-request-id"])
    assert gateway.stop() == 0
    gateway.start()
    ids.add(desk.chat().headers["x-request-id"])
    database.run(
        "SET default_transaction_read_only = off",
        'ALTER DATABASE "{name}" RESET default_transaction_read_only',
        _END_OTHERS,
    )
    eventually(
        lambda: (
            {row["request_id"] for row in gateway.usage_rows()}
            if gateway.admin.get("/usage").status_code == 200
            else set()
        ),
        lambda seen: seen == ids,
        20,
    )
    assert gateway.stop() == 0
    assert gateway.distress() == []


@pytest.mark.parametrize("state", ["lock_timeout", "statement_timeout"])
def test_a_lock_that_is_held_for_long_is_one_sentence(
    launch: Launch, fake: FakeUpstream, database: Database, state: str
) -> None:
    database.run(f"ALTER ROLE {{role}} SET {state} = '300ms'")
    desk = Desk(launch(DB_URL=database.url), fake)
    lane = desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200

    async def hold() -> None:
        connection = await asyncpg.connect(database.owner_url, timeout=10)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE providers, usage IN ACCESS EXCLUSIVE MODE")
                for method, path, body in (
                    ("PATCH", f"/providers/{lane.name}", {"weight": 2}),
                    ("GET", "/providers", None),
                    ("GET", "/usage", None),
                    ("POST", "/config/reload", None),
                ):
                    answer = gateway.admin.request(method, path, json=body)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (
                        503,
                        "database_unavailable",
                    )
                    assert "timeout" in answer.json()["error"]["message"]
                assert desk.chat().status_code == 200
        finally:
            await connection.close()

    run_alone(hold())
    assert gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 2}).status_code == 200
    assert gateway.stop() == 0
    assert gateway.distress() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_first_start_without_rights_prints_one_sentence(
    launch: Launch, database: Database, tmp_path: Path, workers: int
) -> None:
    del launch
    database.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
    gateway = GatewayProcess(tmp_path / "gateway", DB_URL=database.url, WORKERS=workers, SECRET_KEY="k")
    try:
        gateway.launch()
        assert gateway.wait() == 1
        printed = gateway.stderr.read_text().splitlines()
        assert len(printed) == 1, printed
        assert "permission denied for schema public" in printed[0]
        assert "CREATE" in printed[0]
    finally:
        gateway.close()


def test_tables_that_no_migration_made_are_one_sentence(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE providers (id int)")
    gateway = GatewayProcess(tmp_path / "gateway", DB_URL=database.url, SECRET_KEY="k")
    try:
        gateway.launch()
        assert gateway.wait() == 1
        [line] = gateway.stderr.read_text().splitlines()
        assert "alembic_version" in line
    finally:
        gateway.close()


# --- SQLite ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["damaged", "no database", "dropped", "locked"])
def test_what_sqlite_refuses_is_one_sentence_and_the_copy_is_served(
    launch: Launch, fake: FakeUpstream, how: str
) -> None:
    desk = Desk(launch(), fake)
    desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    assert gateway.stop() == 0
    file = Path(gateway.settings["DATA_DIR"]) / "llm-gateway.db"
    holder = None
    if how == "no database":
        for path in file.parent.glob("llm-gateway.db-*"):
            path.unlink()
        file.write_bytes(b"this is no database " * 1000)
    elif how == "damaged":
        content = bytearray(file.read_bytes())
        content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
        file.write_bytes(bytes(content))
    elif how == "dropped":
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DROP TABLE sealed_settings")
    else:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("UPDATE config_state SET version = version")
    try:
        gateway.launch()
        eventually(gateway.is_ready, bool, 60)
        assert desk.chat().status_code == 200
    finally:
        if holder is not None:
            holder.close()
    if how != "locked":
        answer = gateway.admin.post("/config/reload")
        assert answer.status_code in {200, 503}, answer.text
        assert (answer.status_code == 200) == (how == "dropped"), "the catalog itself is there"
    gateway.stop()
    assert "SQLite: " in gateway.stderr.read_text()
    assert gateway.distress() == []
