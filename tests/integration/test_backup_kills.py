"""kill -9 of shippers while PostgreSQL comes and goes: all requests and events end up there once, nothing stays."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy as sa

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import SqliteAddress, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, reading
from llm_gateway.infra.database.migrating import migrate_up
from llm_gateway.infra.database.usage.backup import DatabaseUsageBackup
from llm_gateway.infra.journal.files import read_folder
from tests.fakes.journal_programs import backed_up_shipper
from tests.fakes.tcp_proxy import TcpProxy
from tests.integration.test_journal_kills import Program, Seen


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[TcpProxy]:
    parts = urlsplit(postgres_url)
    assert parts.hostname is not None
    proxy = TcpProxy((parts.hostname, parts.port or 5432)).start()
    yield proxy
    proxy.stop()


@pytest.fixture
def proxied_url(postgres_url: str, proxy: TcpProxy) -> str:
    parts = urlsplit(postgres_url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))


async def count(path: Path) -> int:
    address = SqliteAddress(path=path)
    engine = make_engine(address)
    try:
        return await DatabaseUsageBackup(engine, address, "id", "machine", SystemClock()).count()
    finally:
        await close_engine(engine)


@pytest.mark.timeout(900)
async def test_every_request_and_every_event_is_in_the_database_once_s1_22(
    postgres_url: str, proxied_url: str, proxy: TcpProxy, tmp_path: Path, soak: bool
) -> None:
    await migrate_up(postgres_url)
    folder, backup = tmp_path / "journal", tmp_path / "backup.db"
    seed = time.time_ns()
    print(f"{seed=}")
    choose = random.Random(seed)
    seen = Seen(set(), set(), set())
    were_backed_up = 0
    for turn in range(100 if soak else 8):
        shippers = [Program("back-up", folder, proxied_url, backup) for _ in range(2)]
        writer = Program("write", folder)
        if turn % 2 == 0:
            proxy.cut()
        writer.kill_after(choose.uniform(0.02, 0.1))
        seen.add(writer.said)
        # It comes back while a shipper moves records into it, or is about to be killed.
        shippers[0].kill_after(choose.uniform(0.1, 0.6))
        were_backed_up = max(were_backed_up, await count(backup))
        proxy.restore()
        shippers[1].kill_after(choose.uniform(0.0, 0.3))
    async with backed_up_shipper(folder, proxied_url, backup) as shipper:
        shipper.start()
        assert await shipper.flush(120)
        assert await shipper.drain(10)
        assert shipper.rejected == 0
    assert were_backed_up > 0, "nothing ever reached the backup"
    assert await count(backup) == 0
    engine = make_engine(read_address(postgres_url))
    try:
        async with reading(engine) as connection:
            found = await connection.execute(sa.text("SELECT request_id, outcome FROM usage"))
            rows: dict[str, str] = {row[0]: row[1] for row in found}
            events = await connection.execute(sa.text("SELECT event_id, attributes FROM telemetry_events"))
            stored: dict[str, dict[str, list[str]]] = {row[0]: row[1] for row in events}
            lasting = (
                await connection.execute(
                    sa.text(
                        "SELECT count(*) FROM usage LEFT JOIN usage_attempts AS attempt"
                        " ON attempt.request_id = usage.request_id AND attempt.attempt = usage.attempts"
                        " WHERE attempt.request_id IS NULL"
                    )
                )
            ).scalar_one()
            posted = await connection.execute(
                sa.text("SELECT minutes, sum(requests) FROM usage_rollups GROUP BY minutes")
            )
            sums: dict[int, int] = {row[0]: row[1] for row in posted}
    finally:
        await close_engine(engine)
    begun, ended, taken = seen
    assert taken
    assert taken - stored.keys() == set()
    assert {value["n"][0] for value in stored.values()} == stored.keys()
    assert begun
    # Each row was added up once, on its way through the backup or past it.
    assert sums
    assert set(sums.values()) == {len(rows)}
    assert begun - rows.keys() == set()
    assert {key for key in ended if rows[key] != "ok"} == set()
    assert {outcome for key, outcome in rows.items() if key not in ended} <= {"interrupted", "ok"}
    assert lasting == 0
    assert not read_folder(folder).incarnations
    print(f"{len(begun)} began, {len(ended)} ended, {len(rows)} rows, {were_backed_up} in the backup at most")
