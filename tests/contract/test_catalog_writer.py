"""The catalog is read in one consistent look, and its version counts every change, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.infra.database.catalog import credentials, providers
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


async def test_an_empty_database_is_an_empty_catalog(store: Store) -> None:
    catalog = await store.catalog.load()
    assert (catalog.providers, catalog.credentials, catalog.faults) == ((), (), ())
    assert catalog.version == await store.catalog.version() == 1


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


async def test_neither_secret_nor_key_is_readable_at_rest(store: Store, data_dir: Path) -> None:
    await store.add_provider("main", secret=Secret("sk-the-provider-secret"))
    await store.add_credential("me", "sk-the-client-key")
    (sealed,) = await raw(store, providers.table.c.secret)
    assert "provider-secret" not in sealed
    await store.last_good.close()
    for file in data_dir.rglob("*"):
        content = file.read_bytes()
        assert b"provider-secret" not in content, file
        assert b"client-key" not in content, file


async def test_a_secret_copied_into_another_row_does_not_open(store: Store) -> None:
    first = await store.add_provider("a", secret=Secret("sk-of-a"))
    second = await store.add_provider("b")
    await store.sql(
        "UPDATE providers SET secret = (SELECT secret FROM providers WHERE id = :a) WHERE id = :b",
        a=first,
        b=second,
    )
    catalog = await store.catalog.load()
    (fault,) = catalog.faults
    assert (fault.resource, fault.row, fault.field) == ("provider", "b", "api_key")
    assert "sk-of-a" not in str(fault)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("model_mapping", "[1]", "model_mapping"),
        ("model_mapping", '{"a": 1}', "model_mapping"),
        ("secret", "sk-in-plain-text", "api_key"),
        ("secret", "sealed:1:0011223344556677:AAAA", "api_key"),
        ("secret", "env:NOT_THERE", "environment variable NOT_THERE is not set"),
        ("secret", "env:ADMIN_KEY", "ADMIN_KEY"),
    ],
)
async def test_rows_broken_by_hand_are_faults_with_a_name(
    store: Store, column: str, value: str, named: str
) -> None:
    await store.add_provider("x")
    cast = "CAST(:v AS json)" if store.is_postgres and column == "model_mapping" else ":v"
    await store.sql(f"UPDATE providers SET {column} = {cast}", v=value)
    (fault,) = (await store.catalog.load()).faults
    assert str(fault).startswith("provider 'x': ")
    assert fault.field == ("api_key" if column == "secret" else column)
    assert named in fault.message
    assert "sk-in-plain-text" not in str(fault)
    # It waits for its repair without blocking the others once it is disabled.
    if column == "secret":
        await store.sql("UPDATE providers SET is_enabled = false")
        assert (await store.catalog.load()).faults == ()


async def test_an_environment_reference_is_looked_up_at_every_load(
    store_url: str | None, data_dir: Path
) -> None:
    environ = {"UPSTREAM_KEY": "first"}
    async with opened(store_url, data_dir, environ=environ) as store:
        await store.add_provider("x", secret=Secret("env:UPSTREAM_KEY"))
        assert await raw(store, providers.table.c.secret) == ["env:UPSTREAM_KEY"]
        assert (await store.catalog.load()).providers[0].secret == Secret("first")
        environ["UPSTREAM_KEY"] = "second"
        assert (await store.catalog.load()).providers[0].secret == Secret("second")


async def test_loading_ten_thousand_of_each_is_one_read(store: Store) -> None:
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
    versions = set()
    for _ in range(60):
        catalog = await store.catalog.load()
        weights = {provider.weight for provider in catalog.providers}
        assert len(weights) == 1
        versions.add(catalog.version)
    stop.set()
    await editing
    assert len(versions) > 1


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
        "updated credential 1 'me': key",
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
