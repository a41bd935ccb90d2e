"""Every store of the catalog's rows: an edit is stored whole or not at all, and lists go on after an id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.store import CatalogEdit
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def test_an_edit_that_fails_leaves_nothing(store: Store) -> None:
    async def fails(edit: CatalogEdit) -> None:
        await edit.add(ProviderUpdate(provider_key="x", provider_type="openai", api_base="http://x"))
        await edit.note(99, Change(resource="provider", id=1, before=None, after=None, actor="admin"))
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        await store.rows.edit(fails)
    assert (await store.rows.list(StoredProvider, 0, 10)).value == []
    assert await store.catalog.version() == 1
    assert await store.sql("SELECT count(*) FROM config_versions") == [(0,)]


async def test_lists_go_on_after_an_id(store: Store) -> None:
    ids = [await store.add_provider(f"p{n}") for n in range(5)]
    assert [entry.id for entry in (await store.rows.list(StoredProvider, 0, 2)).value] == ids[:2]
    assert [entry.id for entry in (await store.rows.list(StoredProvider, ids[1], 10)).value] == ids[2:]
    names = [await store.add_credential(f"c{n}") for n in range(3)]
    assert [entry.id for entry in (await store.rows.list(StoredCredential, names[0], 10)).value] == names[1:]
