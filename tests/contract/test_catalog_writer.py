"""Every change of the catalog raises its version by one, whoever makes it, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.infra.database.engine import reading, writing
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(
        store_url, data_dir, environ={"UPSTREAM_KEY": "sk-from-env", "ADMIN_KEY": "x"}
    ) as store:
        yield store


async def raw(store: Store, column: sa.Column[Any]) -> list[Any]:
    async with reading(store.engine) as connection:
        return list((await connection.execute(sa.select(column))).scalars())


# --- reading ---------------------------------------------------------------------------------------


async def test_what_is_stored_is_what_is_loaded(store: Store) -> None:
    mapping = {"gpt-4*": "*", "a": "b", "zeta": "1", "alpha": "2"}
    provider_id = await store.add_provider(
        "main", secret=Secret("sk-secret-é"), model_mapping=mapping, weight=7, is_enabled=False
    )
    credential_id = await store.add_credential("me", "sk-mine", allowed_models=("x", "y*"), rate_limit=0)
    await store.add_credential("all", "sk-all")
    await store.add_credential("none", "sk-none", allowed_models=())
    catalog = await store.catalog.load()
    (provider,) = catalog.providers
    assert provider.id == provider_id
    assert provider.secret == Secret("sk-secret-é")
    assert (provider.provider_key, provider.provider_type, provider.weight) == ("main", "openai", 7)
    assert provider.is_enabled is False
    assert list(provider.model_mapping.items()) == list(mapping.items()), "globs are tried in their order"
    mine, everything, nothing = catalog.credentials
    assert (mine.id, mine.name, mine.rate_limit) == (credential_id, "me", 0)
    assert mine.key_hash == store.hasher.hash("sk-mine")
    assert mine.allowed_models == ("x", "y*")
    assert (everything.allowed_models, everything.rate_limit) == (None, None)
    assert nothing.allowed_models == ()


# --- versions --------------------------------------------------------------------------------------


async def test_every_edit_raises_the_version_by_one_and_is_noted(store: Store) -> None:
    versions = [await store.catalog.version()]
    provider_id = await store.add_provider("x", secret=Secret("sk-secret"))
    versions.append(await store.catalog.version())
    await store.editor.update(provider_id, ProviderUpdate(weight=3, secret=Secret("sk-other")))
    versions.append(await store.catalog.version())
    credential_id = await store.add_credential("me", "sk-key")
    versions.append(await store.catalog.version())
    await store.editor.rotate_credential(credential_id)
    versions.append(await store.catalog.version())
    await store.editor.delete(StoredCredential, credential_id)
    await store.editor.delete(StoredProvider, "x")
    versions.append(await store.catalog.version() - 1)
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    notes = await store.sql("SELECT version, actor, action FROM config_versions ORDER BY version")
    assert [note.version for note in notes] == list(range(2, 8))
    assert {note.actor for note in notes} == {"admin"}
    assert [note.action for note in notes] == [
        "created provider 'x'",
        "updated provider 'x': secret, weight".replace("secret", "api_key"),
        "created credential 1 'me'",
        "rotated credential 1 'me'",
        "deleted credential 1 'me'",
        "deleted provider 'x'",
    ]


async def test_an_edit_that_changes_nothing_raises_no_version(store: Store) -> None:
    await store.add_provider("x", weight=3, secret=Secret("env:UPSTREAM_KEY"))
    before = await store.catalog.version()
    same = ProviderUpdate(weight=3, is_enabled=True, model_mapping={}, secret=Secret("env:UPSTREAM_KEY"))
    edited = await store.editor.update("x", same)
    assert edited.config_version == before == await store.catalog.version()


@pytest.mark.parametrize("table", ["providers", "credentials"])
async def test_changes_by_sql_raise_the_version(store: Store, table: str) -> None:
    await store.add_provider("x")
    await store.add_credential("x")
    seen = await store.catalog.version()
    for statement in (
        f"UPDATE {table} SET is_enabled = false",
        f"DELETE FROM {table}",
        "INSERT INTO providers (provider_key, provider_type, api_base) VALUES ('sql', 'openai', 'http://x')"
        if table == "providers"
        else "INSERT INTO credentials (name, key_hash, key_prefix) VALUES ('sql', 'hash', '')",
    ):
        await store.sql(statement)
        now = await store.catalog.version()
        assert now == seen + 1, statement
        seen = now
    await store.sql(f"UPDATE {table} SET is_enabled = true WHERE id = 999999")
    assert await store.catalog.version() == seen, "no row changed"
    entry = (
        ((await store.rows.list(StoredProvider, 0, 5)).value)
        if table == "providers"
        else ((await store.rows.list(StoredCredential, 0, 5)).value)
    )
    assert isinstance(entry[0].created_at, int)
    assert abs(entry[0].created_at - store.clock.unix_us()) < 60_000_000, "rows made by SQL get a time"


async def test_one_transaction_by_sql_is_one_version_however_many_statements(store: Store) -> None:
    insert = (
        "INSERT INTO providers (provider_key, provider_type, api_base) VALUES ('p{}', 'openai', 'http://x')"
    )
    async with writing(store.engine) as connection:
        for number in range(20):
            await connection.exec_driver_sql(insert.format(number))
        savepoint = await connection.begin_nested()
        await connection.exec_driver_sql(insert.format("rolled-back"))
        await savepoint.rollback()
        await connection.exec_driver_sql("DELETE FROM providers WHERE provider_key = 'p7'")
    seen = await store.catalog.version()
    # SQLite has triggers for rows alone: it counts each of them.
    assert seen == (2 if store.is_postgres else 22)
    await store.sql("UPDATE providers SET weight = 2 WHERE provider_key = 'p1'")
    assert await store.catalog.version() == seen + 1


async def test_ids_are_never_reused(store: Store) -> None:
    seen = []
    for _ in range(3):
        seen.append(await store.add_provider("x"))
        await store.editor.delete(StoredProvider, "x")
    assert seen == sorted(set(seen))
    # Not even after rows with ids of their own came in by hand.
    await store.sql(
        "INSERT INTO providers (id, provider_key, provider_type, api_base) VALUES (500, 'sql', 'openai', 'http://x')"
    )
    assert await store.add_provider("y") > 500
