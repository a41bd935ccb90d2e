"""Stored rows are decoded to the catalog, on both stores; a row that cannot be read is a fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.core.config.models import Model
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate
from llm_gateway.infra.database.catalog import providers
from llm_gateway.infra.database.engine import reading
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
async def test_rows_broken_by_hand_are_named_and_repaired_by_an_update(
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
    assert status.version == 6
    kept = () if table == "credentials" else (str(status.refused.faults[0]).partition(":")[0],)
    assert status.refused.kept == kept, "what was valid before stays in force, unless it admits somebody"
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
