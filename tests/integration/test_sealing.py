"""A wrong key stops the start; rotating the key reseals every value and keeps client keys valid (design 4.2)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm_gateway.core.secret import Secret
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading
from llm_gateway.infra.secrets.key_files import KeyRing
from llm_gateway.infra.startup_error import StartupError
from tests.fakes.stores import opened, ring


async def test_a_wrong_key_is_a_start_fault_that_names_the_variable(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir, keys=ring("right")) as store:
        await store.add_provider("x", secret=Secret("sk-sealed"))
    for source in ("SECRET_KEY", "ADMIN_KEY"):
        wrong = KeyRing((Secret("wrong-key"),), source)
        with pytest.raises(StartupError) as fault:
            async with opened(store_url, data_dir, keys=wrong):
                pass
        assert str(fault.value).startswith(source)
        assert "wrong-key" not in str(fault.value)
    async with opened(store_url, data_dir, keys=ring("right")) as store:
        assert (await store.catalog.load()).providers[0].secret == Secret("sk-sealed")


async def test_rotating_the_key_reseals_and_locks_nobody_out(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir, keys=ring("old"), environ={"E": "x"}) as store:
        await store.add_provider("x", secret=Secret("sk-sealed"))
        await store.add_provider("e", secret=Secret("env:E"))
        await store.add_credential("me", "sk-client")
        key_hash = store.hasher.hash("sk-client")
    async with opened(store_url, data_dir, keys=ring("new", "old"), environ={"E": "x"}) as store:
        assert store.hasher.hash("sk-client") == key_hash
    async with opened(store_url, data_dir, keys=ring("new"), environ={"E": "x"}) as store:
        catalog = await store.catalog.load()
        assert [provider.secret for provider in catalog.providers] == [Secret("sk-sealed"), Secret("x")]
        assert catalog.credentials[0].key_hash == key_hash == store.hasher.hash("sk-client")
        version = catalog.version
    async with opened(store_url, data_dir, keys=ring("new"), environ={"E": "x"}) as store:
        assert await store.catalog.version() == version, "nothing is resealed twice"
    with pytest.raises(StartupError):
        async with opened(store_url, data_dir, keys=ring("old")):
            pass


async def test_workers_that_start_together_share_one_pepper(store_url: str | None, data_dir: Path) -> None:
    async def start() -> bytes:
        async with opened(store_url, data_dir) as store:
            return store.hasher.hash("sk")

    assert len(set(await asyncio.gather(*(start() for _ in range(5))))) == 1


async def test_the_pepper_is_not_readable_at_rest(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as store, reading(store.engine) as connection:
        rows = (await connection.execute(sa.select(tables.sealed_settings))).all()
    assert {row.name for row in rows} == {"canary", "pepper"}
    assert all(row.value.startswith("sealed:1:") for row in rows)


# --- the last good catalog ----------------------------------------------------------------------------
