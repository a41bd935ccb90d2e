"""Rows as an admin sees them, on both stores: secrets masked, unreadable values UNSET."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import UNSET

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from llm_gateway.infra.database.catalog.admin_rows import find_row, list_rows, table_of
from llm_gateway.infra.database.engine import reading
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, environ={"SET": "sk-x"}) as store:
        yield store


async def find(store: Store, stored: type[StoredRow], ref: int | str) -> StoredRow | None:
    async with reading(store.engine) as connection:
        return await find_row(connection, stored, ref, store.vault)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (StoredProvider, "providers"),
        (StoredCredential, "credentials"),
        (StoredModel, "models"),
        (StoredTaskType, "task_types"),
    ],
)
def test_every_kind_of_row_has_its_table(stored: type[StoredRow], name: str) -> None:
    assert table_of(stored).name == name


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (None, None),
        ("env:SET", "env:SET"),
        ("sk-0123456789abcdef", "***cdef"),
        ("short", "***"),
    ],
)
async def test_a_secret_is_masked_and_a_reference_is_shown(
    store: Store, secret: str | None, shown: str | None
) -> None:
    await store.add_provider("x", secret=None if secret is None else Secret(secret))
    row = await find(store, StoredProvider, "x")
    assert isinstance(row, StoredProvider)
    assert row.api_key == shown


async def test_a_secret_that_does_not_open_is_a_mask_without_its_end(store: Store) -> None:
    await store.add_provider("a", secret=Secret("sk-0123456789abcdef"))
    await store.add_provider("b")
    await store.sql("UPDATE providers SET secret = (SELECT secret FROM providers WHERE id = 1) WHERE id = 2")
    row = await find(store, StoredProvider, "b")
    assert isinstance(row, StoredProvider)
    assert row.api_key == "***"


async def test_unreadable_values_are_unset_and_the_others_are_read(store: Store) -> None:
    await store.add_provider("p", model_mapping={"a": "b"}, weight=7)
    await store.add_credential("c", allowed_models=("m",))
    await store.editor.create(ModelUpdate(name="m", weights={"p": 1}, fallbacks=("n",)))
    await store.editor.create(TaskTypeUpdate(name="t", models=("m",)))
    value = "CAST('7' AS json)" if store.is_postgres else "'7'"
    for table, column in (
        ("providers", "model_mapping"),
        ("credentials", "allowed_models"),
        ("models", "weights"),
        ("task_types", "models"),
    ):
        await store.sql(f"UPDATE {table} SET {column} = {value}")
    provider = await find(store, StoredProvider, "p")
    credential = await find(store, StoredCredential, 1)
    model = await find(store, StoredModel, "m")
    task_type = await find(store, StoredTaskType, "t")
    assert isinstance(provider, StoredProvider)
    assert isinstance(credential, StoredCredential)
    assert isinstance(model, StoredModel)
    assert isinstance(task_type, StoredTaskType)
    assert (provider.model_mapping, provider.weight) == (UNSET, 7)
    assert (credential.allowed_models, credential.name) == (UNSET, "c")
    assert (model.weights, model.fallbacks) == (UNSET, ("n",))
    assert task_type.models is UNSET


async def test_a_credential_is_found_by_its_id_only(store: Store) -> None:
    credential_id = await store.add_credential("c")
    found = await find(store, StoredCredential, credential_id)
    assert found is not None
    assert found.id == credential_id
    with pytest.raises(LookupError, match="a credential is found by its id only"):
        await find(store, StoredCredential, "c")


@pytest.mark.parametrize("ref", [99, 0, "nobody", "'; DROP TABLE providers; --"])
async def test_a_row_that_is_not_there_is_none(store: Store, ref: int | str) -> None:
    assert await find(store, StoredProvider, ref) is None


async def test_lists_are_by_id_after_an_id_up_to_a_limit(store: Store) -> None:
    ids = [await store.add_provider(key) for key in "cab"]
    async with reading(store.engine) as connection:

        async def listed(after: int, limit: int) -> list[int]:
            rows = await list_rows(connection, StoredProvider, after, limit, store.vault)
            return [row.id for row in rows]

        assert await listed(0, 10) == ids
        assert await listed(0, 2) == ids[:2]
        assert await listed(ids[1], 10) == ids[2:]
        assert await listed(ids[2], 10) == []
