"""Members of tenants and projects, budgets, and the last request: bounded, and as they are in force."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from llm_gateway.console.control.members import (
    MOST_SHOWN,
    MOST_SUGGESTED,
    budgets_of,
    credentials_of,
    last_request,
    projects_of,
    subject_names,
    tenant_names,
    with_balances,
)
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Budget
from llm_gateway.flow.ports.catalog import StoreUnavailable
from tests.fakes.console_client import Browser, console_browser
from tests.fakes.stores import opened
from tests.fakes.usage_records import record


def serving(catalog: Catalog | None, **services: Any) -> ConsoleServices:
    snapshot = None if catalog is None else SimpleNamespace(catalog=catalog)
    return cast("ConsoleServices", SimpleNamespace(snapshots=SimpleNamespace(current=snapshot), **services))


def credential(number: int, **fields: Any) -> Credential:
    return Credential(id=number, name=f"c{number}", key_hash=b"%d" % number, **fields)


CATALOG = Catalog(
    version=1,
    tenants=(Tenant(id=1, name="acme"), Tenant(id=2, name="other")),
    projects=(Project(id=1, name="web", tenant="acme"), Project(id=2, name="free")),
    credentials=(
        credential(1, tenant="acme"),
        credential(2, project="web"),
        credential(3, project="free"),
        credential(4, tenant="other", project="free"),
        credential(5),
    ),
    budgets=(
        Budget(
            id=1, name="b", scope="tenant", subject="acme", amount_nano_usd=5, period="day", counts_from=0
        ),
        Budget(
            id=2, name="p", scope="project", subject="acme", amount_nano_usd=5, period="day", counts_from=0
        ),
    ),
)


def test_members_of_a_tenant_are_those_of_its_projects_too() -> None:
    services = serving(CATALOG)
    assert credentials_of(services, tenant="acme") == ([(1, "c1"), (2, "c2")], 2)
    assert credentials_of(services, tenant="other") == ([(4, "c4")], 1)
    assert credentials_of(services, project="free") == ([(3, "c3"), (4, "c4")], 2)
    assert projects_of(services, "acme") == ([(1, "web")], 1)
    assert [one.id for one in budgets_of(services, "tenant", "acme")] == [1]


def test_thousands_of_members_are_counted_and_not_all_shown() -> None:
    many = tuple(credential(number, tenant="acme") for number in range(2000))
    services = serving(msgspec.structs.replace(CATALOG, credentials=many))
    members = credentials_of(services, tenant="acme")
    assert (len(members.first), members.total) == (MOST_SHOWN, 2000)
    names = subject_names(services)
    assert len(names) == MOST_SUGGESTED
    assert names[:5] == ["acme", "other", "web", "free", "c0"]


def test_without_a_configuration_there_is_nothing() -> None:
    services = serving(None)
    assert credentials_of(services, tenant="acme").total == projects_of(services, "acme").total == 0
    assert not [*budgets_of(services, "tenant", "acme"), *tenant_names(services), *subject_names(services)]


class AwayUsage:
    async def list(self, *_: object) -> None:
        raise StoreUnavailable("The database does not answer")


async def test_a_database_that_is_away_costs_no_page() -> None:
    assert await last_request(serving(CATALOG, usage=AwayUsage()), "c1") is None


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        yield browser


async def test_the_last_request_is_the_newest_row(browser: Browser) -> None:
    assert await last_request(browser.services, "c") is None
    rows = [record(request_id=f"r{number}", credential="c", created_at=number) for number in (1, 3, 2)]
    await browser.store.usage.upsert([msgspec.json.encode(row) for row in rows])
    found = await last_request(browser.services, "c")
    assert found is not None
    assert found.request_id == "r3"


async def test_balances_are_read_for_as_many_budgets_as_are_shown(browser: Browser) -> None:
    budget = CATALOG.budgets[0]
    many = [msgspec.structs.replace(budget, id=number) for number in range(1, 200)]
    assert len(await with_balances(browser.services, many)) == MOST_SHOWN
