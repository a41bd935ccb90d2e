"""Behind the real PgBouncer in transaction mode, with statement_cache_size=0 in DB_URL, everything works."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from llm_gateway.infra.database.address import PostgresAddress, read_address
from llm_gateway.infra.database.engine import connect_postgres
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream
from tests.services import free_port, run_alone, without_a_part


def find_pgbouncer() -> str:
    """Return the program, or end the test without it."""
    found = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if found is None:
        without_a_part("needs PgBouncer: there is no pgbouncer on PATH; `make services` installs it")
    return found


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    """Yield the URL of a fresh database by way of PgBouncer in transaction mode, with two servers."""
    program = find_pgbouncer()
    parts = urlsplit(postgres_url)
    port = free_port()
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    # Not below pytest's folders, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    settings, log_file = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    password = f" password={parts.password}" if parts.password else ""
    target = f"host={parts.hostname} port={parts.port or 5432} user={parts.username}{password}"
    settings.write_text(
        f"""[databases]
* = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
server_round_robin = 1
"""
    )
    if user is not None:
        for path in (folder, settings):
            shutil.chown(path, user)
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [program, str(settings)],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
    try:
        wait_for(url, process, log_file)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(url, timeout=5, statement_cache_size=0)
        await connection.execute("SELECT 1")
        await connection.close()

    deadline = time.monotonic() + 20
    while True:
        try:
            return run_alone(ask())
        except (OSError, asyncpg.PostgresError) as fault:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PgBouncer did not start: {fault!r}\n{log.read_text()}") from fault
            time.sleep(0.05)


def edits(gateway: GatewayProcess, count: int) -> list[int]:
    """Make changes and reads at once, and return the statuses."""

    def work(number: int) -> list[int]:
        name = f"pooled-{number}"
        body = {"name": name, "allowed_models": ["a"], "rate_limit": number}
        made = gateway.admin.post("/credentials", json=body)
        path = f"/credentials/{made.json().get('id')}"
        return [
            made.status_code,
            gateway.admin.get(path).status_code,
            gateway.admin.patch(path, json={"allowed_models": ["b"]}).status_code,
            gateway.admin.get("/usage").status_code,
            gateway.admin.get("/providers").status_code,
            gateway.admin.post("/models?dry_run=true", json={"name": name}).status_code,
        ]

    with ThreadPoolExecutor(8) as pool:
        return [status for statuses in pool.map(work, range(count)) for status in statuses]


def test_a_pooler_in_transaction_mode_answers_every_call(
    launch: Launch, fake: FakeUpstream, pooled_url: str
) -> None:
    url = pooled_url + "?statement_cache_size=0"
    first = Desk(launch(DB_URL=url, WORKERS=2), fake)
    second = launch(DB_URL=url)
    first.provider()
    assert set(edits(first.gateway, 30)) == {200, 201}
    answers = [first.chat(stream=number % 2 == 0) for number in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    ids = {answer.headers["x-request-id"] for answer in answers}
    eventually(lambda: {row["request_id"] for row in first.gateway.usage_rows()}, lambda seen: seen == ids)
    # Changes reach another machine by its poll alone.
    made = accepted(first.gateway.admin.post("/credentials", json={"name": "leaked"}))
    body = first.body()

    def status() -> int:
        return second.post("/v1/chat/completions", made["key"], json=body).status_code

    eventually(status, lambda found: found == 200, 5)
    accepted(first.gateway.admin.patch(f"/credentials/{made['id']}", json={"is_enabled": False}))
    eventually(status, lambda found: found == 401, 5)
    for gateway in (first.gateway, second):
        assert "cannot be seen" not in gateway.stderr.read_text()
        assert gateway.stop() == 0
        assert gateway.distress() == []


def test_without_the_option_a_refused_call_says_what_to_do(
    launch: Launch, fake: FakeUpstream, pooled_url: str
) -> None:
    # Started with the option, so that the schema is there.
    gateway = launch(DB_URL=pooled_url + "?statement_cache_size=0")
    assert gateway.stop() == 0
    gateway.settings["DB_URL"] = pooled_url
    gateway.start()

    def create(number: int) -> tuple[int, str]:
        answer = gateway.admin.post("/credentials", json={"name": f"refused-{number}"})
        return answer.status_code, answer.text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(40)))
    assert {status for status, _ in answers} <= {201, 503}
    for status, text in answers:
        assert status == 201 or "statement_cache_size=0" in text, text


def test_statements_outside_a_transaction_find_what_they_prepared(pooled_url: str) -> None:
    address = read_address(pooled_url + "?statement_cache_size=0")
    assert isinstance(address, PostgresAddress)

    async def ask(number: int) -> list[int]:
        connection = await connect_postgres(address)
        try:
            return [await connection.fetchval("SELECT $1::int", number) for _ in range(50)]
        finally:
            await connection.close()

    async def work() -> list[list[int]]:
        return await asyncio.gather(*(ask(number) for number in range(8)))

    assert run_alone(work()) == [[number] * 50 for number in range(8)]
