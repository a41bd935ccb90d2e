"""What rows have to do with one another: members of tenants and projects, budgets, and the last request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llm_gateway.console.control.balances import balance_bars
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Budget, BudgetScope
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.money import usd_text
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.usage import UsageFilter

# Members of a tenant or a project, and budgets, that one page shows.
MOST_SHOWN = 50
# More do not fit into a list that drops down.
MOST_SUGGESTED = 200


class Members(NamedTuple):
    """The ids and names of the first that belong to something, and how many there are."""

    first: Sequence[tuple[int, str]]
    total: int


def credentials_of(
    services: ConsoleServices, *, tenant: str | None = None, project: str | None = None
) -> Members:
    """Return the credentials of a tenant (its projects' included) or of a project, as they are in force."""
    snapshot = services.snapshots.current
    if snapshot is None:
        return Members((), 0)
    catalog = snapshot.catalog
    tenants = {one.name: one.tenant for one in catalog.projects}

    def belongs(one: Credential) -> bool:
        if project is not None:
            return one.project == project
        return (one.tenant or tenants.get(one.project or "")) == tenant

    return _members((one.id, one.name) for one in catalog.credentials if belongs(one))


def projects_of(services: ConsoleServices, tenant: str) -> Members:
    """Return the projects of a tenant, as they are in force."""
    snapshot = services.snapshots.current
    found = () if snapshot is None else snapshot.catalog.projects
    return _members((one.id, one.name) for one in found if one.tenant == tenant)


def tenant_names(services: ConsoleServices) -> Sequence[str]:
    """Return the names of tenants, for a field to suggest."""
    snapshot = services.snapshots.current
    return () if snapshot is None else [one.name for one in snapshot.catalog.tenants[:MOST_SUGGESTED]]


def project_names(services: ConsoleServices) -> Sequence[str]:
    """Return the names of projects, for a field to suggest."""
    snapshot = services.snapshots.current
    return () if snapshot is None else [one.name for one in snapshot.catalog.projects[:MOST_SUGGESTED]]


def subject_names(services: ConsoleServices) -> Sequence[str]:
    """Return the names of tenants, projects and credentials, for a field to suggest."""
    snapshot = services.snapshots.current
    if snapshot is None:
        return ()
    # There may be thousands of credentials, so they come last.
    credentials = [one.name for one in snapshot.catalog.credentials[:MOST_SUGGESTED]]
    names = dict.fromkeys((*tenant_names(services), *project_names(services), *credentials))
    return list(names)[:MOST_SUGGESTED]


def _members(pairs: Iterable[tuple[int, str]]) -> Members:
    found = list(pairs)
    return Members(found[:MOST_SHOWN], len(found))


def budgets_of(services: ConsoleServices, scope: BudgetScope, subject: str) -> Sequence[Budget]:
    """Return the budgets of a tenant or a project, as they are in force."""
    snapshot = services.snapshots.current
    found = () if snapshot is None else snapshot.catalog.budgets
    return [one for one in found if (one.scope, one.subject) == (scope, subject)]


async def with_balances(services: ConsoleServices, budgets: Sequence[Budget]) -> Sequence[Mapping[str, Any]]:
    """Return budgets as templates show them, with what is spent and held of each."""
    first = budgets[:MOST_SHOWN]
    amounts = [one.amount_nano_usd for one in first]
    bars = await balance_bars(services.balances, [one.id for one in first], amounts)
    return [_shown(budget, bar) for budget, bar in zip(first, bars, strict=True)]


def _shown(budget: Budget, bar: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "id": budget.id,
        "name": budget.name,
        "scope": budget.scope,
        "subject": budget.subject,
        "period": budget.period,
        "models": budget.models,
        "is_enabled": budget.is_enabled,
        "amount_usd": usd_text(budget.amount_nano_usd),
        "state": bar,
    }


async def last_request(services: ConsoleServices, credential: str) -> UsageRecord | None:
    """Return the last stored request of a credential; None if there is none, or the database does not answer."""
    try:
        found = await services.usage.list(UsageFilter(credential=credential), None, 1)
    except StoreUnavailable:
        return None
    return found[0] if found else None
