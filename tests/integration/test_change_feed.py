"""Changes are noticed by poll, by NOTIFY and by the board, and a silent database hangs nobody (C21, design 4.3)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database import engine as engine_module
from llm_gateway.infra.database.address import read_address
from llm_gateway.infra.database.catalog import change_feed as feed_module
from llm_gateway.infra.database.engine import close_engine, make_engine, reading
from tests.fakes.stores import Store, opened
from tests.fakes.tcp_gate import gate_to


@asynccontextmanager
async def following(store: Store, **times: float) -> AsyncIterator[None]:
    task = asyncio.create_task(store.feed(**times).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(ready: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until `ready` says so: many times what it takes, for a busy machine."""
    async with asyncio.timeout(seconds):
        while not ready():  # noqa: ASYNC110 - what is waited for wakes nobody
            await asyncio.sleep(0.01)


def served(store: Store) -> int:
    assert store.holder.current is not None
    return store.holder.current.version


async def test_changes_by_sql_and_by_another_gateway_are_followed(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as here, opened(store_url, data_dir) as there, following(there):
        await here.add_provider("x")
        await eventually(lambda: served(there) == 2)
        assert there.worker_registry.published[-1] == 2
        await here.sql("UPDATE providers SET weight = 9")
        await eventually(lambda: served(there) == 3)
        assert there.holder.current is not None
        assert there.holder.current.providers[0].provider.weight == 9


async def test_a_notification_is_faster_than_the_poll(postgres_url: str, data_dir: Path) -> None:
    async with opened(postgres_url, data_dir) as store, following(store, postgres_poll=60.0):
        for version in range(2, 6):
            await store.sql(
                f"INSERT INTO providers (provider_key, provider_type, api_base) VALUES ('p{version}', 'openai', 'http://x')"
            )
            await eventually(partial(lambda wanted: served(store) == wanted, version), 10)


async def test_the_poll_alone_is_enough(
    postgres_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "CONFIG_CHANNEL", "a channel where nobody speaks")
    async with opened(postgres_url, data_dir) as store, following(store):
        await store.sql(
            "INSERT INTO providers (provider_key, provider_type, api_base) VALUES ('p', 'openai', 'http://x')"
        )
        await eventually(lambda: served(store) == 2)


async def test_an_announcement_of_another_worker_is_followed(
    store_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "CONFIG_CHANNEL", "a channel where nobody speaks")
    asked: list[int | None] = []
    reload_if_newer = Reloader.reload_if_newer

    async def watched(reloader: Reloader, version: int | None = None) -> None:
        await reload_if_newer(reloader, version)
        asked.append(version)

    monkeypatch.setattr(Reloader, "reload_if_newer", watched)
    async with (
        opened(store_url, data_dir) as here,
        opened(store_url, data_dir) as there,
        following(there, postgres_poll=60.0, sqlite_poll=60.0),
    ):
        # The database was asked once, at the start, and will not be again.
        await eventually(lambda: asked)
        await here.add_provider("x")
        assert served(there) == 1
        there.worker_registry.announce_version(2)
        await eventually(lambda: served(there) == 2)


async def test_a_faulty_catalog_is_reported_and_followed_again_when_mended(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as store, following(store):
        await store.add_provider("x")
        await store.sql("UPDATE providers SET api_base = 'nonsense'")
        await eventually(lambda: store.holder.status.refused is not None)
        assert served(store) == 3
        await store.sql("UPDATE providers SET api_base = 'http://mended'")
        await eventually(lambda: served(store) == 4)
        assert store.holder.status.refused is None


async def test_a_database_that_is_frozen_or_cut_off_hangs_nobody(postgres_url: str, data_dir: Path) -> None:
    async with (
        gate_to(postgres_url) as (gate, url),
        opened(postgres_url, data_dir) as direct,
        opened(url, data_dir, engine_options={"connect_timeout": 0.3}) as store,
    ):
        async with following(store, poll_timeout=0.3, connect_timeout=0.3):
            await direct.add_provider("a")
            await eventually(lambda: served(store) == 2)
            gate.freeze()
            await direct.add_provider("b")
            await asyncio.sleep(1.0)
            assert served(store) == 2
            gate.thaw()
            await eventually(lambda: served(store) == 3)
            gate.cut()
            await direct.add_provider("c")
            await eventually(lambda: served(store) == 4)
            gate.freeze()
        # Cancelled while frozen: it ended at once, or the test would hang here.
        gate.thaw()


async def test_a_load_that_nobody_waits_for_leaves_no_connection_behind(
    postgres_url: str, data_dir: Path
) -> None:
    for step in range(20):
        async with opened(postgres_url, data_dir) as store:
            caller = asyncio.create_task(store.reloader.reload())
            await asyncio.sleep(step * 0.0002)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
    # A connection that is still open complains when it is collected, and complaints are errors here.
    gc.collect()


async def test_statements_on_a_frozen_database_end_in_time(postgres_url: str) -> None:
    async with gate_to(postgres_url) as (gate, url):
        engine = make_engine(read_address(url), command_timeout=0.3)
        async with reading(engine) as connection:
            await connection.execute(sa.text("SELECT 1"))
        gate.freeze()
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable, match="not available"):
                async with reading(engine) as connection:
                    await connection.execute(sa.text("SELECT 1"))
            await close_engine(engine, timeout=0.5)
        gate.thaw()


async def test_a_stopped_backend_is_noticed_and_replaced(postgres_url: str, data_dir: Path) -> None:
    engine = make_engine(read_address(postgres_url), command_timeout=0.5)
    async with reading(engine) as connection:
        backend = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
    try:
        os.kill(backend, signal.SIGSTOP)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the server's processes are not ours to stop")
    try:
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                async with reading(engine) as connection:
                    await connection.execute(sa.text("SELECT 1"))
            async with reading(engine) as connection:
                other = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
        assert other != backend
    finally:
        os.kill(backend, signal.SIGCONT)
        await close_engine(engine)


async def test_an_sqlite_file_held_by_another_program_is_unavailable_not_broken(data_dir: Path) -> None:
    busy = {"sqlite_busy_ms": 50}
    async with opened(None, data_dir) as holder, opened(None, data_dir, engine_options=busy) as store:
        async with engine_module.writing(holder.engine) as connection:
            await connection.execute(sa.text("UPDATE config_state SET version = version"))
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.add_provider("x")
            assert await store.catalog.version() == 1, "reading goes on"
        await store.add_provider("x")
