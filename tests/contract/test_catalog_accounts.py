"""Tenants, projects, budgets and times as they are stored, also by hand: what cannot be read is a fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.limits import Budget, Limits
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential
from llm_gateway.flow.config.rows.tenants import ProjectUpdate, StoredTenant, TenantUpdate
from tests.fakes.stores import Store, opened

TIME = 1_790_000_000_123_457
# Of the year 9999: PostgreSQL's driver takes its last microsecond for infinity.
LATE = 253_402_300_799_999_998


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def served(store: Store) -> Snapshot:
    await store.reloader.reload()
    snapshot = store.holder.current
    assert snapshot is not None
    return snapshot


async def test_rows_are_loaded_as_they_were_written(store: Store) -> None:
    limits = Limits(requests_per_day=5, tokens_per_day=10**15)
    await store.editor.create(TenantUpdate(name="acme", limits=limits, is_enabled=False))
    await store.editor.create(ProjectUpdate(name="web", tenant="acme"))
    update = BudgetUpdate(
        name="b", scope="tenant", subject="acme", amount_nano_usd=10**18, period="day", models=("m", "x-*")
    )
    made = await store.editor.create(update)
    assert isinstance(made.row.counts_from, int)
    catalog = await store.catalog.load()
    assert catalog.faults == ()
    assert catalog.tenants == (Tenant(id=1, name="acme", limits=limits, is_enabled=False),)
    assert catalog.projects == (Project(id=1, name="web", tenant="acme"),)
    assert catalog.budgets == (
        Budget(
            id=1,
            name="b",
            scope="tenant",
            subject="acme",
            amount_nano_usd=10**18,
            period="day",
            models=("m", "x-*"),
            counts_from=made.row.counts_from,
        ),
    )


@pytest.mark.parametrize("moment", [0, 1, TIME, LATE])
async def test_every_microsecond_of_a_time_is_kept(store: Store, moment: int) -> None:
    await store.add_credential("c", "sk-c", expires_at=moment)
    (credential,) = (await store.catalog.load()).credentials
    found = (await store.rows.find(StoredCredential, 1)).value
    assert found is not None
    assert credential.expires_at == found.expires_at == moment


async def test_a_time_by_sql_is_read(store: Store) -> None:
    await store.add_credential("c", "sk-c")
    await store.sql(
        "UPDATE credentials SET expires_at = '2030-01-01 00:00:00+00:00', previous_key_hash = key_hash"
    )
    (credential,) = (await store.catalog.load()).credentials
    assert credential.expires_at == 1_893_456_000_000_000
    assert (await served(store)).faults == ()


async def test_infinity_is_later_than_any_time_in_postgresql_and_a_fault_in_sqlite(store: Store) -> None:
    await store.add_credential("c", "sk-c")
    for value, is_late in (("infinity", True), ("-infinity", False)):
        await store.sql(f"UPDATE credentials SET expires_at = '{value}'")
        catalog = await store.catalog.load()
        if not store.is_postgres:
            assert [(fault.resource, fault.field) for fault in catalog.faults] == [
                ("credential", "expires_at")
            ]
            continue
        (credential,) = catalog.credentials
        assert credential.expires_at is not None
        assert (credential.expires_at > LATE, credential.expires_at < 0) == (is_late, not is_late)


@pytest.mark.parametrize(
    ("statement", "resource", "field"),
    [
        ("UPDATE tenants SET limits = '{\"requests\": 1}'", "tenant", "limits"),
        ("UPDATE tenants SET limits = '[]'", "tenant", "limits"),
        ("UPDATE tenants SET limits = '{\"tokens_per_day\": -1}'", "tenant", "limits.tokens_per_day"),
        ("UPDATE projects SET tenant = 'gone'", "project", "tenant"),
        ("UPDATE budgets SET amount_nano_usd = 0", "budget", "amount_usd"),
        ("UPDATE budgets SET scope = 'planet'", "budget", "scope"),
        ("UPDATE budgets SET subject = 'x'", "budget", "subject"),
        ("UPDATE budgets SET period = 'week'", "budget", "period"),
        ("UPDATE budgets SET models = '\"m\"'", "budget", "models"),
        ("UPDATE credentials SET tenant = 'gone'", "credential", "tenant"),
        ("UPDATE credentials SET user_limits = '1'", "credential", "user_limits"),
    ],
)
async def test_a_row_that_sql_broke_is_a_fault_and_can_be_repaired(
    store: Store, statement: str, resource: str, field: str
) -> None:
    await store.editor.create(TenantUpdate(name="acme"))
    await store.editor.create(ProjectUpdate(name="web", tenant="acme"))
    await store.editor.create(BudgetUpdate(name="b", scope="all", amount_nano_usd=1, period="day"))
    await store.add_credential("c", "sk-c", project="web")
    await store.sql(statement)
    snapshot = await served(store)
    assert (snapshot.faults[0].resource, snapshot.faults[0].field) == (resource, field)
    account = snapshot.account(store.hasher.hash("sk-c"))
    assert account is not None
    if resource == "credential":
        assert not account.credential.is_enabled
    else:
        # What was valid before is in force still.
        assert (account.credential.is_enabled, account.shut_by, len(account.budgets)) == (True, None, 1)
        assert snapshot.kept[0].startswith(resource)
    valid: dict[str, Any] = {
        "tenant": TenantUpdate(limits=None),
        "project": ProjectUpdate(tenant="acme"),
        "budget": BudgetUpdate(scope="all", subject=None, amount_nano_usd=1, period="day", models=None),
        "credential": CredentialUpdate(tenant=None, user_limits=None),
    }
    edited: Any = await store.editor.update(1, valid[resource])
    assert edited.faults == ()
    snapshot = await served(store)
    assert (snapshot.faults, snapshot.kept) == ((), ())


@pytest.mark.parametrize("table", ["tenants", "projects", "budgets"])
async def test_sqlite_stores_anything(data_dir: Path, table: str) -> None:
    async with opened(None, data_dir) as store:
        await _store_anything(store, table)


async def _store_anything(store: Store, table: str) -> None:
    await store.editor.create(TenantUpdate(name="acme"))
    await store.editor.create(ProjectUpdate(name="web"))
    await store.editor.create(BudgetUpdate(name="b", scope="all", amount_nano_usd=1, period="day"))
    await store.sql(f"UPDATE {table} SET is_enabled = 'perhaps'")
    assert [fault.field for fault in (await served(store)).faults] == ["is_enabled"]
    if table == "budgets":
        await store.sql("UPDATE budgets SET is_enabled = 1, counts_from = 'soon', amount_nano_usd = 'much'")
        assert {fault.field for fault in (await served(store)).faults} == {
            "counts_from",
            "amount_nano_usd",
            "amount_usd",
        }
        found = (await store.rows.find(StoredBudget, "b")).value
        assert found is not None
        assert found.counts_from is found.amount_nano_usd
        await store.editor.reset_budget("b")
    else:
        found_tenant = (await store.rows.list(StoredTenant, 0, 9)).value
        assert len(found_tenant) == 1


async def test_sql_that_changes_a_row_raises_the_version(store: Store) -> None:
    await store.editor.create(TenantUpdate(name="acme"))
    version = await store.catalog.version()
    for table, columns, values in (
        ("tenants", "name", "'sql'"),
        ("projects", "name", "'sql'"),
        (
            "budgets",
            "name, scope, amount_nano_usd, period, counts_from",
            "'sql', 'all', 1, 'day', '2026-01-01 00:00:00+00:00'",
        ),
    ):
        for statement in (
            f"INSERT INTO {table} ({columns}) VALUES ({values})",
            f"UPDATE {table} SET is_enabled = false WHERE name = 'sql'",
            f"DELETE FROM {table} WHERE name = 'sql'",
        ):
            await store.sql(statement)
            version += 1
            assert await store.catalog.version() == version
            assert (await served(store)).faults == ()
