"""Models, task types and what providers and credentials have beside them: stored, edited and read on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import Model, RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.errors import Conflict, NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from llm_gateway.infra.database.catalog.last_good import LastGoodCatalog, LastGoodFile
from tests.fakes.stores import Store, opened

OAUTH2 = ClientCredentials(token_url="https://login.example/token", client_id="me", scope="a b")
EVERYTHING: dict[str, Any] = {
    "strategy": "least_busy",
    "weights": {"zeta": 3, "alpha": 0},
    "fallbacks": ("b/c:free", "d"),
    "context_fallbacks": ("big",),
    "policy_fallbacks": ("mild",),
    "timeouts": Timeouts(connect=1.5, first_content=20, idle=5, total=60),
    "retry": RetryRules(
        max_retries=0,
        initial_backoff_ms=10,
        max_backoff_ms=20,
        backoff_factor=1.5,
        jitter=0,
        retry_cut=False,
    ),
    "affinity": "header:X-Session",
    "cache": CacheRules(is_enabled=False, ttl=5, is_shared=True),
}


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def test_what_is_stored_of_a_model_is_what_is_loaded(store: Store) -> None:
    made = await store.editor.create(ModelUpdate(name="org/model", **EVERYTHING))
    plain = await store.editor.create(ModelUpdate(name="plain"))
    catalog = await store.catalog.load()
    assert catalog.faults == ()
    assert catalog.models == (
        Model(id=made.row.id, name="org/model", **EVERYTHING),
        Model(id=plain.row.id, name="plain"),
    )
    assert list(catalog.models[0].weights) == ["zeta", "alpha"]
    assert made.row == (await store.rows.find(StoredModel, "org/model")).value
    assert plain.row == (await store.rows.find(StoredModel, plain.row.id)).value
    assert (await store.rows.list(StoredModel, made.row.id, 5)).value == [plain.row]
    served = store.holder.current
    assert served is not None
    assert served.models["org/model"] == catalog.models[0]


async def test_what_is_stored_of_a_task_type_is_what_is_loaded(store: Store) -> None:
    made = await store.editor.create(TaskTypeUpdate(name="summarization", models=("b", "a")))
    catalog = await store.catalog.load()
    assert catalog.task_types == (TaskType(id=made.row.id, name="summarization", models=("b", "a")),)
    served = store.holder.current
    assert served is not None
    assert served.task_types == {"summarization": ("b", "a")}


async def test_what_providers_and_credentials_have_beside_is_stored(store: Store) -> None:
    beside: dict[str, Any] = {
        "oauth2": OAUTH2,
        "api_version": "2024-10-21",
        "stream_usage": False,
        "probe_interval": 30.0,
    }
    await store.add_provider("x", secret=Secret("client-secret"), **beside)
    await store.add_provider("y", stream_usage=True)
    await store.add_credential("me", "sk-me", cache=CacheRules(ttl=9))
    catalog = await store.catalog.load()
    first, second = catalog.providers
    assert {name: getattr(first, name) for name in beside} == beside
    assert (second.oauth2, second.api_version, second.stream_usage, second.probe_interval) == (
        None, None, True, None,
    )  # fmt: skip
    assert catalog.credentials[0].cache == CacheRules(ttl=9)
    entry = (await store.rows.find(StoredProvider, "x")).value
    assert entry is not None
    assert {name: getattr(entry, name) for name in beside} == beside
    await store.editor.update("x", ProviderUpdate(oauth2=None, stream_usage=None))
    await store.editor.update(1, CredentialUpdate(cache=None))
    catalog = await store.catalog.load()
    assert (catalog.providers[0].oauth2, catalog.providers[0].stream_usage) == (None, None)
    assert catalog.providers[0].api_version == "2024-10-21"
    assert catalog.credentials[0].cache is None


async def test_the_kept_copy_has_all_of_it(store: Store, data_dir: Path) -> None:
    await store.editor.create(ModelUpdate(name="m", **EVERYTHING))
    await store.editor.create(TaskTypeUpdate(name="t", models=("m",)))
    await store.add_provider(
        "x", secret=Secret("s"), oauth2=OAUTH2, stream_usage=True, probe_interval=1.5, is_enabled=False
    )
    await store.add_credential("me", cache=CacheRules())
    await store.last_good.close()
    file = LastGoodFile(data_dir, store.address.shown)
    sealed = file.read_settings()
    assert sealed is not None
    kept = await LastGoodCatalog(file, sealed, store.decoder).load()
    assert kept == await store.catalog.load()


async def test_c18_updates_merge_and_say_what_they_changed(store: Store) -> None:
    await store.editor.create(ModelUpdate(name="m", **EVERYTHING))
    edited = await store.editor.update("m", ModelUpdate(fallbacks=(), timeouts=Timeouts(idle=1)))
    assert (edited.row.fallbacks, edited.row.timeouts) == ((), Timeouts(idle=1))
    assert edited.row.weights == EVERYTHING["weights"]
    version = await store.catalog.version()
    same = await store.editor.update(
        "m", ModelUpdate(**EVERYTHING | {"fallbacks": (), "timeouts": Timeouts(idle=1)})
    )
    assert same.config_version == version == await store.catalog.version()
    await store.editor.update(edited.row.id, ModelUpdate(name="n", retry=RetryRules()))
    await store.editor.create(TaskTypeUpdate(name="t", models=("n",)))
    await store.editor.update("t", TaskTypeUpdate(models=("n", "o")))
    await store.editor.delete(StoredTaskType, "t")
    await store.editor.delete(StoredModel, "n")
    notes = await store.sql("SELECT action FROM config_versions ORDER BY version")
    assert [note.action for note in notes] == [
        "created model 'm'",
        "updated model 'm': fallbacks, timeouts",
        "updated model 'm': name, retry",
        "created task type 't'",
        "updated task type 't': models",
        "deleted task type 't'",
        "deleted model 'n'",
    ]


async def test_duplicates_conflict_and_unknown_ones_are_not_found(store: Store) -> None:
    await store.editor.create(ModelUpdate(name="m"))
    await store.editor.create(ModelUpdate(name="n"))
    await store.editor.create(TaskTypeUpdate(name="t", models=("m",)))
    before = await store.catalog.version()
    works: tuple[Any, ...] = (
        store.editor.create(ModelUpdate(name="m")),
        store.editor.update("n", ModelUpdate(name="m")),
        store.editor.create(TaskTypeUpdate(name="t", models=("x",))),
    )
    for work in works:
        with pytest.raises(Conflict, match=r"with name '[mt]' exists already") as conflict:
            await work
        assert conflict.value.param == "name"
    works = (
        store.editor.update("x", ModelUpdate(affinity="user")),
        store.editor.update(99, TaskTypeUpdate(name="x")),
        store.editor.delete(StoredModel, "t"),
        store.editor.delete(StoredTaskType, "m"),
    )
    for work in works:
        with pytest.raises(NotFound):
            await work
    assert await store.catalog.version() == before


async def test_two_admins_create_the_same_model_and_one_wins(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as one, opened(store_url, data_dir) as two:
        outcomes = await asyncio.gather(
            *(admin.editor.create(ModelUpdate(name="same")) for admin in (one, two) * 3),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5
        assert len((await one.catalog.load()).models) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (ModelUpdate(strategy="fastest"), "strategy"),
        (ModelUpdate(weights={"x": -1}), "weights"),
        (ModelUpdate(fallbacks=("it's",)), "fallbacks"),
        (ModelUpdate(timeouts=Timeouts(idle=0)), "timeouts.idle"),
        (ModelUpdate(retry=RetryRules(jitter=2)), "retry.jitter"),
        (ModelUpdate(affinity="cookie"), "affinity"),
        (ModelUpdate(cache=CacheRules(ttl=-1)), "cache.ttl"),
        (ModelUpdate(name="gpt-*"), "name"),
        (TaskTypeUpdate(models=()), "models"),
    ],
)
async def test_a_bad_value_is_refused_whole_and_names_the_field(
    store: Store, fields: RowUpdate[Any], param: str
) -> None:
    await store.editor.create(ModelUpdate(name="it's"))
    await store.editor.create(TaskTypeUpdate(name="it's", models=("m",)))
    before = await store.catalog.load()
    with pytest.raises(Unprocessable) as refused:
        await store.editor.update("it's", fields)
    assert refused.value.param == param
    assert await store.catalog.load() == before


@pytest.mark.parametrize(
    ("table", "column", "value", "fault"),
    [
        ("models", "weights", '{"a": 1.5}', "model 'm': weights must be an object of provider_keys"),
        ("models", "weights", "null", "model 'm': weights must be"),
        ("models", "fallbacks", '"x"', "model 'm': fallbacks must be a list of model names"),
        ("models", "context_fallbacks", "[1]", "model 'm': context_fallbacks must be a list"),
        ("models", "policy_fallbacks", "{}", "model 'm': policy_fallbacks must be a list"),
        ("models", "timeouts", '{"conect": 1}', "model 'm': timeouts must be an object of connect,"),
        ("models", "retry", "[]", "model 'm': retry must be an object of max_retries,"),
        ("models", "cache", '{"ttl": "1"}', "model 'm': cache must be an object of is_enabled,"),
        ("models", "strategy", "fastest", "model 'm': strategy must be one of: weighted_round_robin,"),
        ("task_types", "models", "{}", "task type 't': models must be a list of model names"),
        ("providers", "oauth2", '{"client_id": "x"}', "provider 'p': oauth2 must be an object of token_url,"),
        ("credentials", "cache", "7", "credential 'c': cache must be an object"),
    ],
)
async def test_rows_broken_by_hand_are_named_listed_and_mended(
    store: Store, table: str, column: str, value: str, fault: str
) -> None:
    await store.add_provider("p")
    await store.add_credential("c")
    await store.editor.create(ModelUpdate(name="m"))
    await store.editor.create(TaskTypeUpdate(name="t", models=("m",)))
    cast = "CAST(:v AS json)" if store.is_postgres and column != "strategy" else ":v"
    await store.sql(f"UPDATE {table} SET {column} = {cast}", v=value)
    status = await store.reloader.reload()
    assert status.refused is not None
    assert str(status.refused.faults[0]).startswith(fault)
    assert status.version == 5, "the last good one stays in force"
    # Setting the default mends it, though the default is what stands in for it.
    mend: Any = {
        "models": lambda: store.editor.update(
            "m", ModelUpdate(**{column: getattr(Model(id=0, name="m"), column)})
        ),
        "task_types": lambda: store.editor.update("t", TaskTypeUpdate(models=("m",))),
        "providers": lambda: store.editor.update("p", ProviderUpdate(oauth2=None)),
        "credentials": lambda: store.editor.update(1, CredentialUpdate(cache=None)),
    }
    assert (await mend[table]()).faults == ()
    assert store.reloader.status.refused is None
    assert store.reloader.status.version == 7


@pytest.mark.parametrize(
    ("table", "column", "fault"),
    [
        ("providers", "weight", "provider 'p': weight must be a whole number"),
        ("providers", "probe_interval", "provider 'p': probe_interval must be a number of seconds, or null"),
        ("credentials", "rate_limit", "credential 'c': rate_limit must be a whole number, or null"),
        ("credentials", "key_hash", "credential 'c': key must be set again: its stored hash is text"),
    ],
)
async def test_sqlite_keeps_any_value_and_the_fault_names_it(
    data_dir: Path, table: str, column: str, fault: str
) -> None:
    async with opened(None, data_dir) as store:
        await store.add_provider("p")
        await store.add_credential("c")
        await store.sql(f"UPDATE {table} SET {column} = 'many'")
        assert [str(found) for found in (await store.catalog.load()).faults] == [fault]


@pytest.mark.parametrize("table", ["models", "task_types"])
async def test_changes_by_sql_raise_the_version_and_get_times_and_defaults(store: Store, table: str) -> None:
    insert = {
        "models": "INSERT INTO models (name) VALUES ('sql')",
        "task_types": "INSERT INTO task_types (name, models) VALUES ('sql', '[\"m\"]')",
    }
    for number, statement in enumerate(
        (
            insert[table],
            f"UPDATE {table} SET name = 'other'",
            f"DELETE FROM {table}",
            insert[table],
        )
    ):
        await store.sql(statement)
        assert await store.catalog.version() == number + 2, statement
    await store.sql(f"UPDATE {table} SET name = 'x' WHERE id = 999999")
    assert await store.catalog.version() == 5, "no row changed"
    catalog = await store.catalog.load()
    assert catalog.faults == ()
    if table == "models":
        assert catalog.models == (Model(id=2, name="sql"),)
    else:
        assert catalog.task_types == (TaskType(id=2, name="sql", models=("m",)),)
    entry = ((await store.rows.list(StoredModel if table == "models" else StoredTaskType, 0, 5)).value)[0]
    assert abs(entry.created_at - store.clock.unix_us()) < 60_000_000
    if store.is_postgres:
        await store.sql(f"TRUNCATE {table}")
        assert await store.catalog.version() == 6


async def test_edits_and_hand_written_sql_on_models_get_along(store: Store) -> None:
    for name in "ab":
        await store.editor.create(ModelUpdate(name=name))

    async def by_hand(number: int) -> None:
        await store.sql(f"UPDATE models SET affinity = 'header:n{number}' WHERE name = 'a'")

    async def by_admin(number: int) -> None:
        await store.editor.update("ab"[number % 2], ModelUpdate(weights={"p": number}))

    await asyncio.gather(*(work(number) for number in range(12) for work in (by_hand, by_admin)))
    assert (await store.catalog.load()).faults == ()
