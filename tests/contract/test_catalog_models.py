"""Settings of models are stored, edited and read back, on both stores; task types behave the same."""

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
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
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
    assert isinstance(entry.created_at, int)
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
