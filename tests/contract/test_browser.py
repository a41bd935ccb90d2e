"""What an admin reads of the catalog: pages, single rows, warnings, and a provider with its secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.browser import CatalogBrowser
from llm_gateway.flow.config.reloader import SnapshotHolder
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from llm_gateway.flow.config.rows.tenants import ProjectUpdate, StoredProject, StoredTenant, TenantUpdate
from tests.fakes.stores import Store, opened

ENVIRON = {"PRESENT": "sk-from-env"}


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, environ=ENVIRON) as store:
        yield store


async def test_pages_hold_every_row_once_and_the_last_has_no_cursor(store: Store) -> None:
    ids = [await store.add_credential(f"c{n}") for n in range(4)]
    seen: list[list[int]] = []
    cursor: str | None = None
    while not seen or cursor is not None:
        page = await store.browser.page(StoredCredential, cursor, 2)
        assert page.version == 5
        seen.append([row.id for row in page.value.items])
        cursor = page.value.next_cursor
    assert seen == [ids[:2], ids[2:]]
    with pytest.raises(Unprocessable) as error:
        await store.browser.page(StoredCredential, "!", 2)
    assert error.value.param == "cursor"


async def _found(store: Store, stored: type[StoredRow], search: str | None) -> list[int]:
    return [row.id for row in (await store.browser.page(stored, None, 100, search)).value.items]


async def test_a_search_looks_in_what_an_admin_knows_a_row_by(store: Store) -> None:
    await store.add_provider("East-1", api_base="https://api.example.com/v1")
    await store.add_provider("west", provider_type="plain", api_base="http://127.0.0.1:9")
    assert await _found(store, StoredProvider, "eAST") == [1]
    assert await _found(store, StoredProvider, "EXAMPLE.com") == [1]
    assert await _found(store, StoredProvider, "plain") == [2]
    assert await _found(store, StoredProvider, "st") == [1, 2]
    assert await _found(store, StoredProvider, "nowhere") == []
    await store.editor.create(TenantUpdate(name="acme"))
    await store.editor.create(ProjectUpdate(name="apollo", tenant="acme"))
    await store.add_credential("batch", key="sk-begins-so-and-goes-on-like-this", tenant="acme")
    await store.add_credential("chat", key="other-key-with-enough-letters", tenant="acme", project="apollo")
    assert await _found(store, StoredCredential, "SK-BEG") == [1]
    assert await _found(store, StoredCredential, "apol") == [2]
    assert await _found(store, StoredCredential, "acme") == [1, 2]
    assert await _found(store, StoredTenant, "cm") == [1]
    assert await _found(store, StoredProject, "acme") == []
    budget = BudgetUpdate(name="spring", scope="tenant", subject="acme", amount_nano_usd=1, period="month")
    await store.editor.create(budget)
    assert await _found(store, StoredBudget, "ACME") == await _found(store, StoredBudget, "ring") == [1]
    await store.editor.create(ModelUpdate(name="gpt-4o"))
    await store.editor.create(TaskTypeUpdate(name="code", models=("gpt-4o",)))
    assert await _found(store, StoredModel, "4O") == [1]
    assert await _found(store, StoredTaskType, "4o") == []
    price = PriceUpdate(provider="west", upstream_model="m/large", prices={"input_tokens": "1"})
    await store.editor.create(price)
    assert await _found(store, StoredPrice, "/LARGE") == await _found(store, StoredPrice, "west") == [1]


async def test_a_search_has_no_wildcards(store: Store) -> None:
    for name in ("50%", "a_b", "axb", "c/d", "c\\d", "it's"):
        await store.add_credential(name)
    for search, ids in {"%": [1], "a_b": [2], "/": [4], "\\": [5], "'": [6], "*": [], "?": []}.items():
        assert (search, await _found(store, StoredCredential, search)) == (search, ids)


async def test_a_blank_search_finds_everything_and_an_unprintable_one_is_refused(store: Store) -> None:
    await store.add_credential("spaced out")
    for search in (None, "", "   ", " spaced ", "d o"):
        assert await _found(store, StoredCredential, search) == [1]
    for search in ("a\0b", "a\nb", "\ud800", "x" * 257):
        with pytest.raises(Unprocessable, match="search: must be") as error:
            await _found(store, StoredCredential, search)
        assert error.value.param == "search"


async def test_the_pages_of_a_search_hold_every_row_once(store: Store) -> None:
    ids = [await store.add_credential(f"{'even' if n % 2 == 0 else 'odd'}-{n}") for n in range(10)]
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        page = await store.browser.page(StoredCredential, cursor, 2, "even")
        seen += [row.id for row in page.value.items]
        cursor = page.value.next_cursor
    assert (seen, cursor) == (ids[::2], None)


async def test_a_row_that_was_broken_by_sql_is_found(store: Store) -> None:
    await store.add_provider("broken")
    cast = "CAST('7' AS json)" if store.is_postgres else "'7'"
    await store.sql(f"UPDATE providers SET model_mapping = {cast}")
    assert await _found(store, StoredProvider, "roke") == [1]


async def test_an_empty_list_is_one_empty_page(store: Store) -> None:
    page = await store.browser.page(StoredModel, None, 10)
    assert (page.value.items, page.value.next_cursor, page.version) == ([], None, 1)


async def test_a_row_is_found_by_id_and_by_name(store: Store) -> None:
    provider_id = await store.add_provider("main")
    found = await store.browser.get(StoredProvider, "main")
    assert found == await store.browser.get(StoredProvider, provider_id)
    assert (found.value.id, found.version) == (provider_id, 2)


@pytest.mark.parametrize("ref", [99, "nobody"])
async def test_a_missing_row_is_named(store: Store, ref: int | str) -> None:
    with pytest.raises(NotFound, match=f"There is no task type {ref!r}"):
        await store.browser.get(StoredTaskType, ref)
    with pytest.raises(NotFound, match=f"There is no provider {ref!r}"):
        await store.browser.open_provider(ref)


async def test_a_disabled_provider_is_opened_with_its_secret(store: Store) -> None:
    await store.add_provider("sealed", secret=Secret("sk-sealed"), is_enabled=False)
    await store.add_provider("reference", secret=Secret("env:PRESENT"), is_enabled=False)
    await store.add_provider("none")
    opened_ones = [await store.browser.open_provider(ref) for ref in ("sealed", "reference", 3)]
    assert [(one.provider_key, one.secret) for one in opened_ones] == [
        ("sealed", Secret("sk-sealed")),
        ("reference", Secret("sk-from-env")),
        ("none", None),
    ]


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_a_provider_without_its_secret_cannot_be_opened(store: Store, is_enabled: bool) -> None:
    await store.add_provider("x", secret=Secret("sk-sealed"))
    await store.add_provider("other", secret=Secret("sk-other"))
    await store.sql(
        "UPDATE providers SET secret = 'env:ABSENT', is_enabled = :flag WHERE id = 1", flag=is_enabled
    )
    with pytest.raises(Unprocessable, match=r"This provider cannot be used: .*variable") as error:
        await store.browser.open_provider("x")
    assert error.value.param == "api_key"
    assert (await store.browser.open_provider("other")).secret == Secret("sk-other")


async def test_every_fault_of_the_provider_is_told(store: Store) -> None:
    await store.add_provider("x")
    cast = "CAST(:v AS json)" if store.is_postgres else ":v"
    await store.sql(f"UPDATE providers SET secret = 'env:ABSENT', model_mapping = {cast}", v="[1]")
    with pytest.raises(Unprocessable) as error:
        await store.browser.open_provider("x")
    assert "model_mapping must be" in error.value.message
    assert "ABSENT is not set" in error.value.message


async def test_warnings_name_the_settings_that_have_no_effect(store: Store) -> None:
    await store.add_provider("main", model_mapping={"m": "m"})
    model = (
        await store.editor.create(ModelUpdate(name="m", weights={"main": 1, "gone": 2}, fallbacks=("n",)))
    ).row
    task = (await store.editor.create(TaskTypeUpdate(name="t", models=("m", "n")))).row
    assert store.browser.warnings(model) == [
        "weights: there is no enabled provider 'gone'",
        "fallbacks: no enabled provider serves 'n'",
    ]
    assert store.browser.warnings(task) == ["models: no enabled provider serves 'n'"]
    provider = (await store.browser.get(StoredProvider, "main")).value
    assert store.browser.warnings(provider) == []


async def test_unreadable_lists_have_no_warnings(store: Store) -> None:
    await store.add_provider("main", model_mapping={"m": "m"})
    await store.editor.create(ModelUpdate(name="m", fallbacks=("n",), weights={"gone": 1}))
    await store.editor.create(TaskTypeUpdate(name="t", models=("n",)))
    value = "CAST('7' AS json)" if store.is_postgres else "'7'"
    await store.sql(f"UPDATE models SET fallbacks = {value}, weights = {value}")
    await store.sql(f"UPDATE task_types SET models = {value}")
    for stored in (StoredModel, StoredTaskType):
        row = (await store.browser.get(stored, 1)).value
        assert store.browser.warnings(row) == []


async def test_models_of_enabled_providers_without_settings_are_unconfigured(store: Store) -> None:
    await store.add_provider("main", model_mapping={"m": "m", "n": "n", "g-*": "*"})
    await store.add_provider("off", model_mapping={"o": "o"}, is_enabled=False)
    await store.editor.create(ModelUpdate(name="m"))
    assert store.browser.unconfigured_models() == ["n"]


async def test_without_a_snapshot_there_are_neither_warnings_nor_models(store: Store) -> None:
    model = (await store.editor.create(ModelUpdate(name="m", fallbacks=("n",)))).row
    browser = CatalogBrowser(store=store.rows, source=store.catalog, snapshots=SnapshotHolder())
    assert browser.warnings(model) == []
    assert browser.unconfigured_models() == []
    current = store.holder.current
    assert current is not None
    assert browser.warnings(model, current) == store.browser.warnings(model) != []
