"""Imports on both databases: all rows or none, faults with their lines, and what exists is updated or left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.gateway_writing import write_gateway_file
from llm_gateway.flow.config.files.reading import read_config_file
from llm_gateway.flow.config.importer import CatalogImporter, Existing, ImportResult, stored_rows
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.registry import KINDS
from tests.fakes.stores import Store, opened
from tests.unit.flow.config.files.test_gateway_reading import DOCUMENTED

EVERYTHING = """\
providers:
  a:
    base_url: http://a.example/v1
    api_key_env: SET
    model_mapping: {"gpt-*": "*"}
    weight: 3
    oauth2: {token_url: "https://token.example", client_id: me}
  b: {base_url: "http://b.example", model_mapping: {}, stream_usage: false, probe_interval: 30}
models:
  m: {provider: a, physical_name: x, cost_per_1k_prompt: 0.0025, fallbacks: [n], timeouts: {idle: 3}}
  n: {provider: a, weights: {a: 2}, retry: {max_retries: 0}, cache: {ttl: 60}}
prices:
- {provider: a, upstream_model: "gpt-*", prices: {input_tokens: 2.5}, valid_from: 2026-01-01}
- {provider: a, upstream_model: "gpt-*", prices: {input_tokens: 3}, valid_from: 2026-01-01}
task_types: {summarization: [m, n]}
"""


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(
        store_url, data_dir, environ={"SET": "sk-from-the-environment", "OPENAI_API_KEY": "sk"}
    ) as store:
        yield store


async def imported(
    store: Store, text: str, existing: Existing = "update", *, dry_run: bool = False
) -> ImportResult:
    contents = read_config_file(text.encode(), KINDS, environ={}, forbidden_variables=frozenset())
    importer = CatalogImporter(KINDS, shipped_price_book(), actor="import")

    async def change(edit: CatalogEdit) -> ImportResult:
        return await importer.apply(edit, contents, existing)

    return await store.rows.edit(change, dry_run=dry_run)


async def exported(store: Store) -> str:
    return write_gateway_file(await stored_rows(store.rows)).text


def actions(result: ImportResult) -> list[str]:
    return [row.action for row in result.rows]


async def test_s2_4_s2_8_the_documented_file_fills_a_catalog(store: Store) -> None:
    result = await imported(store, DOCUMENTED)
    assert actions(result) == ["created"] * 3
    rows = await stored_rows(store.rows)
    openai, local = rows.providers
    assert (openai.provider_type, openai.api_key) == ("openai", "env:OPENAI_API_KEY")
    assert openai.model_mapping == {"gpt-4.1-mini": "gpt-4-1106-preview"}
    # The older gateway sent it nothing, since no model names it; here an empty mapping would serve every model.
    assert (local.provider_type, local.is_enabled) == ("ollama", False)
    assert any("'local'" in warning for warning in result.warnings)
    notes = await store.sql("SELECT actor, action FROM config_versions")
    expected = (
        "created provider 'openai'; created provider 'local'; created price 1 'openai/gpt-4-1106-preview'"
    )
    assert [tuple(note) for note in notes] == [("import", expected)]


async def test_what_was_imported_and_exported_is_imported_alike(store: Store) -> None:
    await imported(store, EVERYTHING)
    first = await exported(store)
    again = await imported(store, first)
    assert set(actions(again)) == {"unchanged"}
    assert await exported(store) == first
    version = await store.catalog.version()
    await imported(store, EVERYTHING)
    assert await store.catalog.version() == version


async def test_rows_that_exist_are_updated_or_skipped(store: Store) -> None:
    await imported(store, EVERYTHING)
    changed = EVERYTHING.replace("weight: 3", "weight: 5").replace("0.0025", "0.005")
    assert set(actions(await imported(store, changed, "skip"))) == {"skipped"}
    result = await imported(store, changed)
    assert [str(row) for row in result.rows if row.action == "updated"] == [
        "updated provider 'a': weight",
        "updated price 1 'a/x': prices",
    ]
    (price, *_) = (await store.rows.list(StoredPrice, 0, 1)).value
    assert price.prices == {"input_tokens": "5"}


async def test_fields_that_a_file_leaves_out_stay(store: Store) -> None:
    await imported(store, EVERYTHING)
    result = await imported(store, "providers:\n  a: {weight: 1, price_provider: openai}\n")
    assert [str(row) for row in result.rows] == ["updated provider 'a': weight, price_provider"]
    row = (await store.rows.find(StoredProvider, "a")).value
    assert row is not None
    assert (row.api_key, row.model_mapping, row.oauth2 is not None) == (
        "env:SET",
        {"gpt-*": "*", "m": "x", "n": "n"},
        True,
    )


async def test_a_dry_run_stores_nothing(store: Store) -> None:
    result = await imported(store, EVERYTHING, dry_run=True)
    assert set(actions(result)) == {"created"}
    assert await store.catalog.version() == 1
    assert (await store.rows.list(StoredProvider, 0, 10)).value == []


BASE = "providers:\n  a:\n    base_url: http://x\n"
FAULTS = [
    (
        "providers:\n  ok: {base_url: 'http://x'}\n  a:\n    base_url: ftp://x\n",
        "line 4: providers.a.base_url: base_url must be a URL",
    ),
    (
        "providers:\n  a:\n    base_url: http://me:hunter2@x\n",
        "line 3: providers.a.base_url: base_url must hold no user",
    ),
    (BASE + "    weight: -1\n", "line 4: providers.a.weight: weight must be 0 or more"),
    (
        BASE + "    provider_type: nonsense\n",
        "line 4: providers.a.provider_type: provider_type 'nonsense' is unknown",
    ),
    (
        "providers:\n  '12': {base_url: 'http://x'}\n",
        "line 2: providers.12: provider_key: must not be digits only",
    ),
    (
        BASE + "    oauth2: {token_url: 'http://t', client_id: x}\n    model_mapping: {}\n",
        "line 2: providers.a: api_key must be given",
    ),
    ("models:\n  m*:\n    affinity: user\n", "line 2: models.m*: name must be one model's name"),
    ("models:\n  m:\n    strategy: best\n", "line 3: models.m.strategy: strategy must be one of"),
    (
        "models:\n  m:\n    timeouts: {idle: 0}\n",
        "line 3: models.m.timeouts: timeouts.idle must be more than 0",
    ),
    (
        "prices:\n- provider: a\n  upstream_model: x\n  prices: {tokens: 1}\n",
        "line 4: prices[0].prices: prices.tokens is not a unit",
    ),
    ("task_types:\n  t: []\n", "line 2: task_types.t: models must name one model at least"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=range(len(FAULTS)))
async def test_a_fault_has_its_line_and_nothing_is_stored(store: Store, text: str, message: str) -> None:
    with pytest.raises(Unprocessable) as raised:
        await imported(store, text)
    assert message in raised.value.message
    assert "hunter2" not in raised.value.message
    assert await store.catalog.version() == 1
    assert (await store.rows.list(StoredProvider, 0, 10)).value == []


async def test_faults_from_before_do_not_stop_an_import(store: Store) -> None:
    await store.add_provider("broken")
    await store.sql("UPDATE providers SET api_base = 'nonsense'")
    assert actions(await imported(store, "providers:\n  a: {base_url: 'http://x'}\n")) == ["created"]


async def test_a_variable_that_is_not_set_is_a_warning(store: Store) -> None:
    result = await imported(
        store, "providers:\n  a: {base_url: 'http://x', api_key_env: ABSENT, model_mapping: {}}\n"
    )
    assert actions(result) == ["created"]
    assert [warning for warning in result.warnings if "ABSENT is not set" in warning]


async def test_a_price_that_looks_like_a_mistake_is_a_warning(store: Store) -> None:
    text = DOCUMENTED.replace("0.01", "10")
    result = await imported(store, text)
    assert any("price openai/gpt-4-1106-preview" in one and "too high" in one for one in result.warnings)


async def test_a_key_in_clear_is_sealed_and_never_exported(store: Store) -> None:
    await imported(
        store, "providers:\n  a: {base_url: 'http://x', api_key: sk-secret-0123456789, model_mapping: {}}\n"
    )
    ((sealed,),) = await store.sql("SELECT secret FROM providers")
    assert "sk-secret" not in sealed
    written = write_gateway_file(await stored_rows(store.rows))
    assert "sk-secret" not in written.text
    assert [finding.path for finding in written.findings] == ["providers.a.api_key"]
    # Importing the file again takes no key away.
    assert actions(await imported(store, written.text)) == ["unchanged"]


async def test_rows_are_read_in_pages_of_one_version(store: Store) -> None:
    async def many(edit: CatalogEdit) -> None:
        for number in range(501):
            await edit.add(
                ProviderUpdate(
                    provider_key=f"p{number}",
                    provider_type="openai",
                    api_base="http://x",
                    secret=Secret("env:SET"),
                )
            )
        await edit.add(ModelUpdate(name="m"))

    await store.rows.edit(many)
    rows = await stored_rows(store.rows)
    assert (len(rows.providers), len(rows.models)) == (501, 1)


async def test_the_catalog_is_marked_as_filled_once(store: Store) -> None:
    async def mark(edit: CatalogEdit) -> tuple[str | None, bool, str | None]:
        before = await edit.first_fill()
        had = await edit.had_providers()
        await edit.mark_filled("first")
        await edit.mark_filled("second")
        return before, had, await edit.first_fill()

    assert await store.rows.edit(mark) == (None, False, "first")
    await imported(store, "providers:\n  a: {base_url: 'http://x'}\n")
    assert await store.rows.edit(mark) == ("first", True, "first")
