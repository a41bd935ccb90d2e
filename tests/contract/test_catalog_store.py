"""The catalog's repository and editor keep the same promises on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.core.errors import Conflict, NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.stores import CatalogEdit, CredentialFields, ProviderFields
from llm_gateway.infra.database import tables
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
    (sealed,) = await raw(store, tables.providers.c.secret)
    assert "provider-secret" not in sealed
    await store.keeper.close()
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
    assert "provider 'b'" in fault
    assert "api_key" in fault
    assert "sk-of-a" not in fault


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
    assert fault.startswith("provider 'x': ")
    assert named in fault
    assert "sk-in-plain-text" not in fault
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
        assert await raw(store, tables.providers.c.secret) == ["env:UPSTREAM_KEY"]
        assert (await store.catalog.load()).providers[0].secret == Secret("first")
        environ["UPSTREAM_KEY"] = "second"
        assert (await store.catalog.load()).providers[0].secret == Secret("second")


async def test_loading_ten_thousand_of_each_is_one_read(store: Store) -> None:
    count = 2000
    hashes = [{"k": store.hasher.hash(str(n)), "n": f"c{n}"} for n in range(count)]
    sealed = store.vault.seal(b"sk-same", "provider:1:api_key")
    async with store.engine.begin() as connection:
        await connection.execute(
            sa.insert(tables.credentials),
            [
                {"name": row["n"], "key_hash": row["k"], "key_prefix": "", "created_at": 0, "updated_at": 0}
                for row in hashes
            ],
        )
        await connection.execute(
            sa.insert(tables.providers),
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
            sa.update(tables.providers).where(tables.providers.c.id == 1).values(secret=sealed)
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
                await edit.change_provider(1, ProviderFields(weight=number))
                await asyncio.sleep(0)
                await edit.change_provider(2, ProviderFields(weight=number))

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
    await store.editor.update_provider(provider_id, ProviderFields(weight=3, secret=Secret("sk-other")))
    versions.append(await store.catalog.version())
    credential_id = await store.add_credential("me", "sk-key")
    versions.append(await store.catalog.version())
    await store.editor.rotate_credential(credential_id)
    versions.append(await store.catalog.version())
    await store.editor.delete_credential(credential_id)
    await store.editor.delete_provider("x")
    versions.append(await store.catalog.version() - 1)
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    notes = await store.sql("SELECT version, actor, action FROM config_versions ORDER BY version")
    assert [note.version for note in notes] == list(range(2, 8))
    assert {note.actor for note in notes} == {"admin"}
    assert [note.action for note in notes] == [
        "created provider 'x'",
        "updated provider 'x': secret, weight".replace("secret", "api_key"),
        "created credential 1 'me'",
        "rotated the key of credential 1 'me'",
        "deleted credential 1 'me'",
        "deleted provider 'x'",
    ]


async def test_an_edit_that_changes_nothing_raises_no_version(store: Store) -> None:
    await store.add_provider("x", weight=3, secret=Secret("env:UPSTREAM_KEY"))
    before = await store.catalog.version()
    same = ProviderFields(weight=3, is_enabled=True, model_mapping={}, secret=Secret("env:UPSTREAM_KEY"))
    edited = await store.editor.update_provider("x", same)
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
        (await store.rows.list_providers(0, 5))
        if table == "providers"
        else (await store.rows.list_credentials(0, 5))
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
        await store.editor.delete_provider("x")
    assert seen == sorted(set(seen))
    # Not even after rows with ids of their own came in by hand.
    await store.sql(
        "INSERT INTO providers (id, provider_key, provider_type, api_base) VALUES (500, 'sql', 'openai', 'http://x')"
    )
    assert await store.add_provider("y") > 500


# --- editing ---------------------------------------------------------------------------------------


async def test_c18_updates_merge(store: Store) -> None:
    provider_id = await store.add_provider(
        "x", secret=Secret("sk-0123456789abcdef"), weight=4, model_mapping={"a": "b"}
    )
    edited = await store.editor.update_provider("x", ProviderFields(api_base="http://other/v1"))
    entry = edited.entry
    assert (entry.id, entry.weight, entry.model_mapping, entry.api_base) == (
        provider_id, 4, {"a": "b"}, "http://other/v1",
    )  # fmt: skip
    assert entry.api_key == "***cdef"
    for masked in ("***cdef",):
        await store.editor.update_provider("x", ProviderFields(secret=Secret(masked), weight=5))
    (provider,) = (await store.catalog.load()).providers
    assert provider.secret == Secret("sk-0123456789abcdef")
    assert provider.weight == 5
    await store.editor.update_provider("x", ProviderFields(secret=None))
    (provider,) = (await store.catalog.load()).providers
    assert provider.secret is None
    assert entry.created_at <= edited.entry.updated_at


@pytest.mark.parametrize("masked", ["***", "***wxyz"])
async def test_a_mask_is_never_taken_for_a_secret(store: Store, masked: str) -> None:
    await store.add_provider("x", secret=Secret("sk-0123456789abcdef"))
    with pytest.raises(Unprocessable) as refused:
        await store.editor.update_provider("x", ProviderFields(secret=Secret(masked)))
    assert refused.value.param == "api_key"
    with pytest.raises(Unprocessable):
        await store.add_provider("y", secret=Secret(masked))


async def test_renaming_a_provider_keeps_its_id_and_secret(store: Store) -> None:
    provider_id = await store.add_provider("old", secret=Secret("sk-kept"))
    await store.editor.update_provider("old", ProviderFields(provider_key="new"))
    (provider,) = (await store.catalog.load()).providers
    assert (provider.id, provider.provider_key, provider.secret) == (provider_id, "new", Secret("sk-kept"))


async def test_c31_duplicates_conflict_and_store_nothing(store: Store) -> None:
    await store.add_provider("x")
    await store.add_provider("y")
    await store.add_credential("one", "sk-one")
    two = await store.add_credential("two", "sk-two")
    before = await store.catalog.load()
    with pytest.raises(Conflict, match="'x'") as conflict:
        await store.add_provider("x", weight=9)
    assert conflict.value.param == "provider_key"
    with pytest.raises(Conflict):
        await store.editor.update_provider("y", ProviderFields(provider_key="x"))
    with pytest.raises(Conflict) as taken:
        await store.add_credential("three", "sk-one")
    assert taken.value.param == "key"
    assert "sk-one" not in str(taken.value)
    with pytest.raises(Conflict):
        await store.editor.update_credential(two, CredentialFields(), Secret("sk-one"))
    after = await store.catalog.load()
    assert (after.version, after.providers, after.credentials) == (
        before.version,
        before.providers,
        before.credentials,
    )


async def test_c31_unknown_ids_are_not_found(store: Store) -> None:
    for work in (
        store.editor.update_provider(7, ProviderFields(weight=1)),
        store.editor.delete_provider("nobody"),
        store.editor.update_credential(7, CredentialFields(name="x")),
        store.editor.rotate_credential(7),
        store.editor.delete_credential(7),
    ):
        with pytest.raises(NotFound):
            await work
    assert await store.catalog.version() == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider_type": "nonsense"}, "provider_type"),
        ({"api_base": "ftp://x"}, "api_base"),
        ({"model_mapping": {"a": "*"}}, "model_mapping"),
        ({"secret": Secret("env:NOT_THERE")}, "api_key"),
    ],
)
async def test_an_edit_that_leads_to_a_bad_catalog_is_refused_whole(
    store: Store, fields: dict[str, Any], param: str
) -> None:
    await store.add_provider("good")
    before = await store.catalog.load()
    snapshot = store.holder.current
    with pytest.raises(Unprocessable) as refused:
        await store.add_provider("it's", **fields)
    assert refused.value.param == param
    with pytest.raises(Unprocessable) as refused:
        await store.editor.update_provider("good", ProviderFields(**fields))
    assert refused.value.param == param
    after = await store.catalog.load()
    assert (after.version, after.providers) == (before.version, before.providers)
    assert store.holder.current is snapshot
    assert await store.sql("SELECT count(*) FROM config_versions") == [(1,)]


async def test_a_kind_without_an_address_needs_one(store: Store) -> None:
    made = await store.editor.create_provider(ProviderFields(provider_key="o", provider_type="openai"))
    assert made.entry.api_base == "https://api.openai.com/v1"
    with pytest.raises(Unprocessable) as refused:
        await store.editor.create_provider(ProviderFields(provider_key="p", provider_type="plain"))
    assert refused.value.param == "api_base"


async def test_c15_a_made_key_works_and_is_shown_once(store: Store) -> None:
    made = await store.editor.create_credential(CredentialFields(name="me"), None)
    key = made.entry.key
    assert key is not None
    text = key.reveal()
    assert text.startswith("sk-")
    assert len(text) == 46
    snapshot = store.holder.current
    assert snapshot is not None
    account = snapshot.account(store.hasher.hash(text))
    assert account is not None
    assert account.credential.id == made.entry.entry.id
    listed = await store.rows.find_credential(account.credential.id)
    assert listed is not None
    assert listed.key_prefix == text[:8]
    given = await store.editor.create_credential(CredentialFields(name="x"), Secret("abcd"))
    assert (given.entry.key, given.entry.entry.key_prefix) == (None, "a")


async def test_rotation_replaces_the_key(store: Store) -> None:
    credential_id = await store.add_credential("me", "sk-old")
    rotated = await store.editor.rotate_credential(credential_id)
    assert rotated.entry.key is not None
    snapshot = store.holder.current
    assert snapshot is not None
    assert snapshot.account(store.hasher.hash("sk-old")) is None
    account = snapshot.account(store.hasher.hash(rotated.entry.key.reveal()))
    assert account is not None
    assert account.credential.id == credential_id


async def test_two_admins_at_once_lose_nothing(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        await one.add_provider("shared", model_mapping={"m": "m"})
        edits = []
        for number in range(12):
            admin = (one, two)[number % 2]
            edits += [admin.add_provider(f"p{number}"), admin.add_credential(f"c{number}")]
        edits.append(one.editor.update_provider("shared", ProviderFields(weight=5)))  # type: ignore[arg-type]
        edits.append(two.editor.update_provider("shared", ProviderFields(model_mapping={"x": "y"})))  # type: ignore[arg-type]
        await asyncio.gather(*edits)
        catalog = await one.catalog.load()
        assert len(catalog.providers) == 13
        assert len(catalog.credentials) == 12
        shared = catalog.providers[0]
        assert (shared.weight, shared.model_mapping) == (5, {"x": "y"})
        assert catalog.version == 1 + 1 + 24 + 2
        noted = await one.sql("SELECT version FROM config_versions ORDER BY version")
        assert [row.version for row in noted] == list(range(2, catalog.version + 1))


async def test_two_admins_create_the_same_provider_and_one_wins(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        outcomes = await asyncio.gather(
            *(admin.add_provider("same") for admin in (one, two) * 4), return_exceptions=True
        )
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7


async def test_edits_and_hand_written_sql_get_along(store: Store) -> None:
    """The hand-written transactions lock rows before the version, the editor after: no deadlock is left over."""
    for key in "ab":
        await store.add_provider(key)

    async def by_hand(number: int) -> None:
        await store.sql(f"UPDATE providers SET weight = {number} WHERE provider_key = 'a'")

    async def by_admin(number: int) -> None:
        await store.editor.update_provider("ab"[number % 2], ProviderFields(weight=1000 + number))

    await asyncio.gather(*(work(number) for number in range(15) for work in (by_hand, by_admin)))
    assert (await store.catalog.load()).faults == ()


async def test_an_edit_that_fails_leaves_nothing(store: Store) -> None:
    async def fails(edit: CatalogEdit) -> None:
        await edit.add_provider(ProviderFields(provider_key="x", provider_type="openai", api_base="http://x"))
        await edit.note(99, "admin", "nothing")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        await store.rows.edit(fails)
    assert await store.rows.list_providers(0, 10) == []
    assert await store.catalog.version() == 1
    assert await store.sql("SELECT count(*) FROM config_versions") == [(0,)]


async def test_lists_go_on_after_an_id(store: Store) -> None:
    ids = [await store.add_provider(f"p{n}") for n in range(5)]
    assert [entry.id for entry in await store.rows.list_providers(0, 2)] == ids[:2]
    assert [entry.id for entry in await store.rows.list_providers(ids[1], 10)] == ids[2:]
    names = [await store.add_credential(f"c{n}") for n in range(3)]
    assert [entry.id for entry in await store.rows.list_credentials(names[0], 10)] == names[1:]


async def test_sqlite_is_set_up_to_wait_and_to_keep_what_was_committed(data_dir: Path) -> None:
    async with opened(None, data_dir) as store:
        assert await store.sql("PRAGMA journal_mode") == [("wal",)]
        assert await store.sql("PRAGMA foreign_keys") == [(1,)]
        assert (await store.sql("PRAGMA busy_timeout"))[0][0] >= 5000
        assert (data_dir / "llm-gateway.db").stat().st_mode & 0o777 == 0o600
        assert sqlite3.sqlite_version_info > (3, 35)
