"""A database carries an id, made once, and no connection is used that leads to another database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.database import migrating
from llm_gateway.infra.database.address import StoreAddress, embedded_address, read_address
from llm_gateway.infra.database.catalog.change_feed import ChangeFeed
from llm_gateway.infra.database.engine import DatabaseIdentity, close_engine, make_engine, reading, writing
from llm_gateway.infra.database.identity import read_database_id
from llm_gateway.infra.database.usage.repository import UsageRepository
from tests.fakes.stores import opened
from tests.fakes.usage_records import record


@pytest.fixture
def address(store_url: str | None, data_dir: Path) -> StoreAddress:
    return embedded_address(data_dir) if store_url is None else read_address(store_url)


async def _id(address: StoreAddress) -> str | None:
    engine = make_engine(address)
    try:
        return await read_database_id(engine)
    finally:
        await close_engine(engine)


async def _run(address: StoreAddress, *statements: str) -> None:
    engine = make_engine(address)
    async with writing(engine) as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await close_engine(engine)


async def test_gateways_that_start_together_find_one_id(address: StoreAddress) -> None:
    await asyncio.gather(*(migrating.migrate_up(address) for _ in range(4)))
    ids = set(await asyncio.gather(*(_id(address) for _ in range(8))))
    assert len(ids) == 1
    assert len(ids.pop() or "") == 32


async def test_a_deleted_id_is_made_again_once(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    before = await _id(address)
    await _run(address, "DELETE FROM database_identity")
    ids = set(await asyncio.gather(*(_id(address) for _ in range(8))))
    assert len(ids) == 1
    assert ids != {before}


async def test_a_schema_from_before_ids_has_none(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    while await migrating.current_version(address) != "0004":
        await migrating.migrate_down_one(address)
    assert await _id(address) is None


async def test_another_database_is_neither_read_nor_written(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    identity = DatabaseIdentity(address.shown)
    engine = make_engine(address, identity=identity)
    try:
        identity.id = await read_database_id(engine)
        async with reading(engine) as connection:
            await connection.exec_driver_sql("SELECT 1")
        await engine.dispose()
        await _run(address, "UPDATE database_identity SET database_id = 'another'")
        usage = UsageRepository(engine)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"is not the one .* Restart the gateway") as caught:
                await usage.list(UsageFilter(), None, 1)
            assert address.shown in caught.value.message
            with pytest.raises(StoreUnavailable, match="another"):
                await usage.upsert([msgspec.json.encode(record("a"))])
        await _run(address, "DELETE FROM database_identity")
        with pytest.raises(StoreUnavailable, match="None"):
            await usage.list(UsageFilter(), None, 1)
        await _run(address, f"INSERT INTO database_identity VALUES (1, '{identity.id}')")
        assert await usage.list(UsageFilter(), None, 1) == []
    finally:
        await close_engine(engine)


async def test_another_database_is_not_followed(postgres_url: str, data_dir: Path) -> None:
    async with opened(postgres_url, data_dir) as store:
        identity = DatabaseIdentity(store.address.shown)
        identity.id = "another"
        loads: list[int | None] = []

        class Follower:
            async def reload_if_newer(self, version: int | None = None) -> None:
                loads.append(version)

        feed = ChangeFeed(
            store.address,
            store.catalog,
            store.worker_registry,
            Follower(),
            identity=identity,
            postgres_poll=0.01,
        )
        task = asyncio.create_task(feed.run())
        await asyncio.sleep(0.8)
        assert loads == []
        identity.id = None
        while not loads:  # noqa: ASYNC110 - nothing tells of a load
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
