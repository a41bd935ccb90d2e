"""The history in both stores: what an edit leaves, and the gaps that changes by SQL leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.change import Change
from llm_gateway.flow.config.rows.history import HistoryEntry
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.store import CatalogEdit
from tests.fakes.stores import Store, opened, ring

BY_SQL = "UPDATE providers SET weight = weight + 1"


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


def spans(entries: list[HistoryEntry]) -> list[tuple[int, int, bool]]:
    return [(entry.first_version, entry.version, entry.note is not None) for entry in entries]


async def test_a_new_database_has_no_history(store: Store) -> None:
    assert await store.history_rows.list(None, 10) == []
    for version in (-1, 0, 1, 2, 2**62):
        assert await store.history_rows.find(version) is None


async def test_every_edit_is_an_entry_with_who_when_and_what(store: Store) -> None:
    before = store.clock.unix_us()
    await store.add_provider("x", secret=Secret("sk-secret-of-the-provider"))
    await store.editor.update("x", ProviderUpdate(weight=3, secret=Secret("sk-another-secret-of-it")))
    await store.editor.delete(StoredProvider, "x")
    entries = await store.history_rows.list(None, 10)
    assert spans(entries) == [(4, 4, True), (3, 3, True), (2, 2, True)]
    notes = [entry.note for entry in entries if entry.note is not None]
    assert [note.action for note in notes] == [
        "deleted provider 'x'",
        "updated provider 'x': api_key, weight",
        "created provider 'x'",
    ]
    assert {note.actor for note in notes} == {"admin"}
    assert all(note.created_at is not None and note.created_at >= before for note in notes)
    rows = [note.changes.rows[0] for note in notes if note.changes is not None]
    assert [row.action for row in rows] == ["deleted", "updated", "created"]
    assert (rows[1].before, rows[1].after) == ({"weight": 1}, {"weight": 3})
    assert (rows[0].before or {})["weight"] == 3


async def test_no_secret_is_recorded(store: Store) -> None:
    await store.add_provider("x", secret=Secret("sk-first-upstream-key-1234"))
    credential = await store.add_credential("c", key="sk-key-of-the-client-with-some-length")
    await store.editor.rotate_credential(credential, key=Secret("sk-next-key-of-the-client-with-length"))
    await store.editor.revoke_credential(credential)
    await store.editor.update("x", ProviderUpdate(secret=Secret("sk-other-upstream-key-5678")))
    await store.editor.delete(StoredProvider, "x")
    text = str(await store.sql("SELECT changes FROM config_versions"))
    for secret in ("upstream", "1234", "5678", "client", "hash", "sealed", "secret"):
        assert secret not in text, secret


async def test_changes_by_sql_are_gaps(store: Store) -> None:
    await store.add_provider("x")
    await store.sql(BY_SQL)
    await store.sql(BY_SQL)
    await store.add_credential("c")
    await store.sql(BY_SQL)
    entries = await store.history_rows.list(None, 10)
    assert spans(entries) == [(6, 6, False), (5, 5, True), (3, 4, False), (2, 2, True)]
    for version in range(2, 7):
        found = await store.history_rows.find(version)
        assert found in entries
        assert found is not None
        assert found.first_version <= version <= found.version
    assert await store.history_rows.find(7) is None


async def test_what_was_done_before_the_first_edit_is_a_gap(store: Store) -> None:
    for name in "ab":
        await store.sql("INSERT INTO tenants (name, created_at, updated_at) VALUES (:n, :t, :t)".replace(
            ":t", "now()" if store.is_postgres else "0"), n=name)  # fmt: skip
    assert spans(await store.history_rows.list(None, 10)) == [(2, 3, False)]
    await store.add_provider("x")
    assert spans(await store.history_rows.list(None, 10)) == [(4, 4, True), (2, 3, False)]


async def test_an_edit_of_several_steps_is_one_entry(store: Store) -> None:
    async def change(edit: CatalogEdit) -> None:
        changes = []
        for name in "abc":
            row_id = await edit.add(
                ProviderUpdate(provider_key=name, provider_type="openai", api_base="http://x")
            )
            made = await edit.find(StoredProvider, row_id)
            changes.append(Change(resource="provider", id=row_id, before=None, after=made, actor="import"))
        await edit.note(await edit.version(), *changes)

    await store.rows.edit(change)
    (entry,) = await store.history_rows.list(None, 10)
    # PostgreSQL counts transactions, SQLite rows.
    assert spans([entry]) == [(2, 2 if store.is_postgres else 4, True)]
    versions = range(entry.first_version, entry.version + 1)
    assert [await store.history_rows.find(version) for version in versions] == [entry] * len(versions)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_hold_every_entry_once(store: Store, limit: int) -> None:
    for number in range(4):
        await store.add_provider(f"p{number}")
        if number % 2:
            await store.sql(BY_SQL + f" WHERE provider_key = 'p{number}'")
    whole = await store.history_rows.list(None, 100)
    assert len(whole) == 6
    seen: list[HistoryEntry] = []
    before: int | None = None
    while page := await store.history_rows.list(before, limit):
        assert len(page) <= limit
        seen += page
        before = page[-1].first_version
    assert seen == whole


async def test_notes_of_older_gateways_have_no_changes(store: Store) -> None:
    await store.add_provider("x")
    await store.add_provider("y")
    await store.sql(BY_SQL + " WHERE provider_key = 'y'")
    await store.add_provider("z")
    await store.sql("UPDATE config_versions SET changes = NULL")
    assert spans(await store.history_rows.list(None, 10)) == [
        (5, 5, True),
        (4, 4, False),
        (3, 3, True),
        (2, 2, True),
    ]
    # Of an edit with several steps, it is not known where it began.
    await store.sql("UPDATE config_versions SET action = 'created x; created y' WHERE version = 5")
    assert spans(await store.history_rows.list(None, 1)) == [(4, 5, True)]


@pytest.mark.parametrize("broken", ["7", '{"based_on": 1}', '{"based_on": "x", "rows": []}'])
async def test_a_record_that_was_broken_by_sql_is_none(store: Store, broken: str) -> None:
    await store.add_provider("x")
    value = "CAST(:v AS json)" if store.is_postgres else ":v"
    await store.sql(f"UPDATE config_versions SET changes = {value}", v=broken)
    (entry,) = await store.history_rows.list(None, 10)
    assert entry.note is not None
    assert entry.note.changes is None


@pytest.mark.parametrize("based_on", [-5, 99])
async def test_a_version_that_was_written_by_hand_does_not_confuse_the_rest(
    store: Store, based_on: int
) -> None:
    await store.add_provider("x")
    await store.add_provider("y")
    value = "CAST(:v AS json)" if store.is_postgres else ":v"
    record = f'{{"based_on": {based_on}, "rows": []}}'
    await store.sql(f"UPDATE config_versions SET changes = {value} WHERE version = 3", v=record)
    assert spans(await store.history_rows.list(None, 10)) == [(3, 3, True), (2, 2, True)]


async def test_keys_that_are_sealed_again_leave_a_complete_note(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir, keys=ring("first")) as store:
        await store.add_provider("x", secret=Secret("sk-1"))
        await store.add_provider("y", secret=Secret("sk-2"))
    async with opened(store_url, data_dir, keys=ring("second", "first")) as store:
        entry, *_ = await store.history_rows.list(None, 1)
        assert spans([entry]) == [(4, 4 if store.is_postgres else 5, True)]
        assert entry.note is not None
        assert entry.note.actor == "gateway"
        assert entry.note.changes is not None
        assert (entry.note.changes.are_complete, entry.note.changes.rows) == (True, ())
