"""All rows are read in one transaction, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database.catalog import credentials, providers
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(
        store_url, data_dir, environ={"UPSTREAM_KEY": "sk-from-env", "ADMIN_KEY": "x"}
    ) as store:
        yield store


async def test_an_empty_database_is_an_empty_catalog(store: Store) -> None:
    catalog = await store.catalog.load()
    assert (catalog.providers, catalog.credentials, catalog.faults) == ((), (), ())
    assert catalog.version == await store.catalog.version() == 1


async def test_a_version_that_was_deleted_by_hand_is_named(store: Store) -> None:
    await store.sql("DELETE FROM config_state")
    for read in (store.catalog.load, store.catalog.version):
        with pytest.raises(StoreUnavailable, match="The table config_state must hold one row"):
            await read()


async def test_two_thousand_rows_of_two_resources_are_loaded(store: Store) -> None:
    count = 2000
    hashes = [{"k": store.hasher.hash(str(n)), "n": f"c{n}"} for n in range(count)]
    sealed = store.vault.seal(b"sk-same", "provider:1:api_key")
    async with store.engine.begin() as connection:
        await connection.execute(
            sa.insert(credentials.table),
            [
                {"name": row["n"], "key_hash": row["k"], "key_prefix": "", "created_at": 0, "updated_at": 0}
                for row in hashes
            ],
        )
        await connection.execute(
            sa.insert(providers.table),
            [
                {
                    "provider_key": f"p{n}",
                    "provider_type": "openai",
                    "api_base": "http://x",
                    "created_at": 0,
                    "updated_at": 0,
                }
                for n in range(count)
            ],
        )
        await connection.execute(
            sa.update(providers.table).where(providers.table.c.id == 1).values(secret=sealed)
        )
    catalog = await store.catalog.load()
    assert (len(catalog.providers), len(catalog.credentials), catalog.faults) == (count, count, ())
    assert catalog.providers[0].secret == Secret("sk-same")


async def test_a_load_never_sees_half_of_an_edit(store: Store) -> None:
    """Each edit sets both providers to one number: every load must see the same number twice."""
    for key in "ab":
        await store.add_provider(key, weight=0)
    stop = asyncio.Event()

    async def edit() -> None:
        number = 0
        while not stop.is_set():
            number += 1

            async def both(edit: CatalogEdit, number: int = number) -> None:
                await edit.change(1, ProviderUpdate(weight=number))
                await asyncio.sleep(0)
                await edit.change(2, ProviderUpdate(weight=number))

            await store.rows.edit(both)

    editing = asyncio.create_task(edit())
    versions: set[int] = set()
    loads = 0
    # On a busy machine an edit may take longer than many loads; the test's own timeout bounds them.
    while loads < 60 or len(versions) < 2:
        loads += 1
        catalog = await store.catalog.load()
        weights = {provider.weight for provider in catalog.providers}
        assert len(weights) == 1
        versions.add(catalog.version)
    stop.set()
    await editing
