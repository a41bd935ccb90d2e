"""Earlier versions of the catalog: rebuilt from the record of each edit, or an error that says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.history import CatalogHistory
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, environ={}) as store:
        yield store


async def refused(store: Store, version: int) -> str:
    with pytest.raises(Unprocessable) as error:
        await store.history.catalog(version)
    assert (error.value.param, error.value.code) == ("config_version", "config_version_unknown")
    return error.value.message


async def test_pages_go_on_after_a_cursor(store: Store) -> None:
    for number in range(5):
        await store.add_provider(f"p{number}")
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        page = await store.history.page(cursor, 2)
        seen += [entry.version for entry in page.items]
        cursor = page.next_cursor
    assert (seen, cursor) == ([6, 5, 4, 3, 2], None)
    with pytest.raises(Unprocessable) as error:
        await store.history.page("!", 2)
    assert error.value.param == "cursor"


async def test_a_version_is_found_by_its_number(store: Store) -> None:
    await store.add_provider("x")
    assert (await store.history.get(2)).version == 2
    for version in (0, 1, 3):
        with pytest.raises(NotFound, match=f"config version {version}"):
            await store.history.get(version)


async def test_earlier_catalogs_are_rebuilt(store: Store) -> None:
    await store.add_provider("x", model_mapping={"m": "old"}, secret=Secret("sk-of-x"))
    credential = await store.add_credential("c", key="sk-key-of-the-client-1")
    await store.editor.update("x", ProviderUpdate(model_mapping={"m": "new"}, weight=0))
    await store.editor.rotate_credential(credential)
    await store.editor.revoke_credential(credential)
    await store.editor.delete(StoredProvider, "x")
    empty, first = await store.history.catalog(1), await store.history.catalog(3)
    assert (empty.version, empty.providers, empty.credentials) == (1, (), ())
    assert [(one.model_mapping, one.weight, one.secret) for one in first.providers] == [
        ({"m": "old"}, 1, None)
    ]
    assert [(one.name, one.is_enabled, one.revoked_at) for one in first.credentials] == [("c", True, None)]
    later = await store.history.catalog(4)
    assert [(one.model_mapping, one.weight) for one in later.providers] == [({"m": "new"}, 0)]
    newest = await store.history.catalog(7)
    assert (newest.providers, newest.credentials[0].is_enabled) == ((), False)


async def test_no_key_of_now_is_in_a_rebuilt_catalog(store: Store) -> None:
    await store.add_credential("c", key="sk-key-of-the-client-1")
    await store.add_credential("d", key="sk-key-of-the-client-2")
    known = {one.key_hash for one in (await store.catalog.load()).credentials}
    hashes = [one.key_hash for one in (await store.history.catalog(3)).credentials]
    assert len(set(hashes)) == 2
    assert not known & set(hashes)


async def test_unknown_versions_are_named(store: Store) -> None:
    await store.add_provider("x")
    for version in (-1, 0, 3, 2**62):
        with pytest.raises(NotFound, match=f"no config version {version}: the newest one is 2"):
            await store.history.catalog(version)


async def test_changes_by_sql_cannot_be_undone(store: Store) -> None:
    await store.add_provider("x")
    await store.sql("UPDATE providers SET weight = 7")
    await store.sql("UPDATE providers SET weight = 8")
    await store.add_provider("y")
    assert [one.weight for one in (await store.history.catalog(4)).providers] == [8]
    for version in (3, 2, 1):
        assert "versions 3 to 4 were made without the gateway" in await refused(store, version)
    await store.sql("UPDATE providers SET weight = 9 WHERE id = 2")
    assert "version 6 was made without the gateway" in await refused(store, 5)


async def test_versions_without_a_complete_record_cannot_be_undone(store: Store) -> None:
    await store.add_provider("x")
    large = {f"model-{number}": "x" * 100 for number in range(3_000)}
    await store.editor.update("x", ProviderUpdate(model_mapping=large))
    assert "version 3 changed more than its record holds" in await refused(store, 2)
    await store.sql("UPDATE config_versions SET changes = NULL")
    assert "version 3 was made by an older gateway" in await refused(store, 2)


async def test_a_record_that_does_not_fit_the_rows_is_named(store: Store) -> None:
    await store.add_provider("x")
    await store.add_provider("y")
    record = '{"based_on": 2, "rows": [{"resource": "provider", "id": 77, "name": "z", "action": "created"}]}'
    value = "CAST(:v AS json)" if store.is_postgres else ":v"
    await store.sql(f"UPDATE config_versions SET changes = {value} WHERE version = 3", v=record)
    assert "the record of version 3 does not fit what is stored" in await refused(store, 2)


async def test_only_so_many_edits_are_undone(store: Store) -> None:
    for weight in (1, 2, 3, 4):
        await store.add_provider(f"p{weight}")
    history = CatalogHistory(store.history_rows, store.catalog, most_undone=2)
    assert len((await history.catalog(3)).providers) == 2
    with pytest.raises(Unprocessable, match="more than 2 edits"):
        await history.catalog(2)


async def test_faults_of_now_hold_for_earlier_versions_only_where_nothing_changed(store: Store) -> None:
    await store.add_provider("x")
    await store.editor.create(ModelUpdate(name="m"))
    broken = "CAST('7' AS json)" if store.is_postgres else "'7'"
    await store.sql(f"UPDATE models SET fallbacks = {broken}")
    await store.add_provider("absent", secret=Secret("env:X"), is_enabled=False)
    await store.editor.update("m", ModelUpdate(affinity="user"))
    then = await store.history.catalog(4)
    assert [(fault.resource, fault.field) for fault in then.faults] == [("model", "fallbacks")]
    await store.editor.update("m", ModelUpdate(fallbacks=("n",)))
    assert "version 7 changed more than its record holds" in await refused(store, 4)
