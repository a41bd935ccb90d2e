"""Edits of the catalog are whole or not at all, on both stores and with several admins at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.errors import Conflict, NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def test_c18_updates_merge(store: Store) -> None:
    provider_id = await store.add_provider(
        "x", secret=Secret("sk-0123456789abcdef"), weight=4, model_mapping={"a": "b"}
    )
    edited = await store.editor.update("x", ProviderUpdate(api_base="http://other/v1"))
    entry = edited.row
    assert (entry.id, entry.weight, entry.model_mapping, entry.api_base) == (
        provider_id, 4, {"a": "b"}, "http://other/v1",
    )  # fmt: skip
    assert entry.api_key == "***cdef"
    for masked in ("***cdef",):
        await store.editor.update("x", ProviderUpdate(secret=Secret(masked), weight=5))
    (provider,) = (await store.catalog.load()).providers
    assert provider.secret == Secret("sk-0123456789abcdef")
    assert provider.weight == 5
    await store.editor.update("x", ProviderUpdate(secret=None))
    (provider,) = (await store.catalog.load()).providers
    assert provider.secret is None
    assert isinstance(entry.created_at, int)
    assert isinstance(edited.row.updated_at, int)
    assert entry.created_at <= edited.row.updated_at


@pytest.mark.parametrize("masked", ["***", "***wxyz"])
async def test_a_mask_is_never_taken_for_a_secret(store: Store, masked: str) -> None:
    await store.add_provider("x", secret=Secret("sk-0123456789abcdef"))
    with pytest.raises(Unprocessable) as refused:
        await store.editor.update("x", ProviderUpdate(secret=Secret(masked)))
    assert refused.value.param == "api_key"
    with pytest.raises(Unprocessable):
        await store.add_provider("y", secret=Secret(masked))


async def test_renaming_a_provider_keeps_its_id_and_secret(store: Store) -> None:
    provider_id = await store.add_provider("old", secret=Secret("sk-kept"))
    await store.editor.update("old", ProviderUpdate(provider_key="new"))
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
        await store.editor.update("y", ProviderUpdate(provider_key="x"))
    with pytest.raises(Conflict) as taken:
        await store.add_credential("three", "sk-one")
    assert taken.value.param == "key"
    assert "sk-one" not in str(taken.value)
    with pytest.raises(Conflict):
        await store.editor.update(two, CredentialUpdate(key=Secret("sk-one")))
    after = await store.catalog.load()
    assert (after.version, after.providers, after.credentials) == (
        before.version,
        before.providers,
        before.credentials,
    )


async def test_c31_unknown_ids_are_not_found(store: Store) -> None:
    for work in (
        store.editor.update(7, ProviderUpdate(weight=1)),
        store.editor.delete(StoredProvider, "nobody"),
        store.editor.update(7, CredentialUpdate(name="x")),
        store.editor.rotate_credential(7),
        store.editor.delete(StoredCredential, 7),
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
        await store.editor.update("good", ProviderUpdate(**fields))
    assert refused.value.param == param
    after = await store.catalog.load()
    assert (after.version, after.providers) == (before.version, before.providers)
    assert store.holder.current is snapshot
    assert await store.sql("SELECT count(*) FROM config_versions") == [(1,)]


async def test_a_kind_without_an_address_needs_one(store: Store) -> None:
    made = await store.editor.create(ProviderUpdate(provider_key="o", provider_type="openai"))
    assert made.row.api_base == "https://api.openai.com/v1"
    with pytest.raises(Unprocessable) as refused:
        await store.editor.create(ProviderUpdate(provider_key="p", provider_type="plain"))
    assert refused.value.param == "api_base"


async def test_c15_a_made_key_works_and_is_shown_once(store: Store) -> None:
    made = await store.editor.create(CredentialUpdate(name="me"))
    key = made.generated_key
    assert key is not None
    text = key.reveal()
    assert text.startswith("sk-")
    assert len(text) == 46
    snapshot = store.holder.current
    assert snapshot is not None
    account = snapshot.account(store.hasher.hash(text))
    assert account is not None
    assert account.credential.id == made.row.id
    listed = (await store.rows.find(StoredCredential, account.credential.id)).value
    assert listed is not None
    assert listed.key_prefix == text[:8]
    given = await store.editor.create(CredentialUpdate(name="x", key=Secret("abcd")))
    assert (given.generated_key, given.row.key_prefix) == (None, "a")


async def test_rotation_replaces_the_key(store: Store) -> None:
    credential_id = await store.add_credential("me", "sk-old")
    rotated = await store.editor.rotate_credential(credential_id, overlap=0)
    assert rotated.generated_key is not None
    snapshot = store.holder.current
    assert snapshot is not None
    assert snapshot.account(store.hasher.hash("sk-old")) is None
    account = snapshot.account(store.hasher.hash(rotated.generated_key.reveal()))
    assert account is not None
    assert account.credential.id == credential_id


async def test_two_admins_at_once_lose_nothing(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        await one.add_provider("shared", model_mapping={"m": "m"})
        edits = []
        for number in range(12):
            admin = (one, two)[number % 2]
            edits += [admin.add_provider(f"p{number}"), admin.add_credential(f"c{number}")]
        edits.append(one.editor.update("shared", ProviderUpdate(weight=5)))  # type: ignore[arg-type]
        edits.append(two.editor.update("shared", ProviderUpdate(model_mapping={"x": "y"})))  # type: ignore[arg-type]
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
        await store.editor.update("ab"[number % 2], ProviderUpdate(weight=1000 + number))

    await asyncio.gather(*(work(number) for number in range(15) for work in (by_hand, by_admin)))
    assert (await store.catalog.load()).faults == ()
