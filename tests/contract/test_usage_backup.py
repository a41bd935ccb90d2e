"""Every usage backup keeps lines in their order until they are removed, each database's apart from the others'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.ledger import UsageBackup
from llm_gateway.infra.database.address import SqliteAddress, StoreAddress, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, reading
from llm_gateway.infra.database.usage.backup import DatabaseUsageBackup, create_backup, read_backup_address
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.startup_error import StartupError
from tests.fakes.in_memory import FakeClock
from tests.fakes.usage_records import InMemoryUsageBackup, record

LINES = [to_line(record(str(number), client_request_id="nul\0 ü \U0001f600")).rstrip() for number in range(5)]


@pytest.fixture
def address(store_url: str | None, data_dir: Path) -> StoreAddress:
    return (
        SqliteAddress(path=data_dir / "sub" / "backup.db") if store_url is None else read_address(store_url)
    )


MakeBackup = Callable[..., DatabaseUsageBackup]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(address: StoreAddress, clock: FakeClock) -> AsyncIterator[MakeBackup]:
    async with AsyncExitStack() as stack:

        def make(
            database_id: str = "one", machine: str = "m", *, creates: bool = True, gone_after: float = 600
        ) -> DatabaseUsageBackup:
            engine = make_engine(address)
            stack.push_async_callback(close_engine, engine)
            return DatabaseUsageBackup(
                engine,
                address,
                database_id,
                machine,
                clock,
                creates=creates,
                gone_after=gone_after,
            )

        yield make


@pytest.fixture(params=["database", "memory"])
def backup(request: pytest.FixtureRequest, make: MakeBackup) -> UsageBackup:
    return make() if request.param == "database" else InMemoryUsageBackup()


async def facts(backup: UsageBackup, limit: int = 100) -> list[bytes]:
    return [one.fact for one in await backup.oldest(limit)]


async def test_lines_come_back_as_they_were_in_their_order(backup: UsageBackup) -> None:
    assert await facts(backup) == []
    await backup.add(LINES[:3])
    await backup.add(LINES[3:])
    await backup.add([])
    assert await facts(backup) == LINES
    assert await facts(backup, 2) == LINES[:2]
    assert await backup.count() == 5


async def test_removed_lines_are_gone_and_their_numbers_are_not_used_again(backup: UsageBackup) -> None:
    await backup.add(LINES)
    found = await backup.oldest(100)
    await backup.remove([one.number for one in found[:2]])
    assert await facts(backup) == LINES[2:]
    await backup.remove([one.number for one in found])
    await backup.remove([one.number for one in found])
    await backup.remove([])
    assert await backup.count() == 0
    await backup.add(LINES[:1])
    await backup.remove([one.number for one in found])
    assert await facts(backup) == LINES[:1]


async def test_thousands_of_lines_are_kept_and_removed(backup: UsageBackup) -> None:
    await backup.add([b"%d" % number for number in range(3000)])
    await backup.remove([one.number for one in await backup.oldest(1000)])
    assert await backup.count() == 2000
    assert await facts(backup, 1) == [b"1000"]


async def test_a_line_that_the_journal_did_not_write_is_no_reason_to_fail(make: MakeBackup) -> None:
    backup = make()
    await backup.add([b'{"t":"end",\0\xff\xfe torn'])
    assert await facts(backup) == [b'{"t":"end",\\u0000\\xff\\xfe torn']


async def test_databases_that_share_a_backup_do_not_see_each_others_lines(make: MakeBackup) -> None:
    one, two = make("one"), make("two")
    await one.add(LINES[:2])
    await two.add(LINES[2:])
    assert await facts(one) == LINES[:2]
    await two.remove([number for number, _ in await one.oldest(100)])
    assert await facts(one) == LINES[:2]
    assert await two.count() == 3


async def test_lines_of_another_machine_are_found_once_it_seems_to_be_gone(
    make: MakeBackup, clock: FakeClock
) -> None:
    gone, here = make(machine="gone"), make(machine="here")
    await gone.add(LINES[:2])
    await here.add(LINES[2:])
    assert await facts(here) == LINES[2:]
    assert await here.oldest_of_others(10) == []
    clock.now += 599
    assert await here.oldest_of_others(10) == []
    clock.now += 2
    found = await here.oldest_of_others(10)
    assert [one.fact for one in found] == LINES[:2]
    assert await make("two", "third", gone_after=0).oldest_of_others(10) == []
    await here.remove([one.number for one in found])
    assert await facts(gone) == []
    assert await gone.count() == 3


async def test_the_table_is_created_once_however_many_start_together(
    make: MakeBackup, address: StoreAddress
) -> None:
    backups = [make() for _ in range(5)]
    await asyncio.gather(*(backup.add([LINES[0]]) for backup in backups), create_backup(address))
    assert await backups[0].count() == 5


async def test_nothing_but_its_table_is_created(make: MakeBackup) -> None:
    backup = make()
    await backup.add(LINES)
    async with reading(backup._engine) as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    assert names == ["usage_backup"]


async def test_without_migrations_a_missing_table_is_an_outage(
    make: MakeBackup, address: StoreAddress
) -> None:
    if isinstance(address, SqliteAddress):
        address.path.parent.mkdir()
    backup = make(creates=False)
    with pytest.raises(StoreUnavailable):
        await backup.add(LINES)
    await create_backup(address)
    await backup.add(LINES)
    assert await backup.count() == 5


def test_the_address_is_checked_and_named() -> None:
    primary = read_address("postgresql://user:hunter2@db:5432/gateway")
    assert read_backup_address("sqlite:///backup.db", primary) == SqliteAddress(path=Path("backup.db"))
    with pytest.raises(StartupError, match=r"^BACKUP_DB_URL must look like") as refused:
        read_backup_address("mysql://user:hunter2@db/x", primary)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(StartupError, match=r"names the gateway's own database, db:5432/gateway") as same:
        read_backup_address("postgres://user:other@DB/gateway", primary)
    assert "hunter2" not in str(same.value)
