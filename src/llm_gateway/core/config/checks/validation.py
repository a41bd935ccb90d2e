"""Finds everything that is wrong with a catalog. No fault holds a secret."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

from llm_gateway.core.config.accounts import membership_faults, project_faults, tenant_faults
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import credential_faults
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import budget_faults
from llm_gateway.core.config.models import model_faults
from llm_gateway.core.config.prices import price_faults
from llm_gateway.core.config.providers import Kind, provider_faults
from llm_gateway.core.config.task_types import task_type_faults
from llm_gateway.core.pricing.price_book import PriceBook


def catalog_faults(catalog: Catalog, kinds: Mapping[str, Kind], book: PriceBook | None = None) -> list[Fault]:
    """Return every fault, those found while reading the rows first.

    Without a `book`, names of its providers and units are not checked.
    """
    faults = list(catalog.faults)
    keys = ((row.id, row.provider_key, row.provider_key) for row in catalog.providers)
    faults += _duplicates("provider", "provider_key", keys)
    for provider in catalog.providers:
        faults += provider_faults(provider, kinds, book)
    faults += _account_faults(catalog)
    faults += _duplicates("model", "name", ((row.id, row.name, row.name) for row in catalog.models))
    for model in catalog.models:
        faults += model_faults(model)
    faults += _duplicates("task type", "name", ((row.id, row.name, row.name) for row in catalog.task_types))
    for task in catalog.task_types:
        faults += task_type_faults(task)
    for override in catalog.prices:
        faults += price_faults(override, None if book is None else book.units)
    return faults


def _account_faults(catalog: Catalog) -> Iterator[Fault]:
    """Yield the faults of tenants, projects, credentials and budgets."""
    for resource, rows in (
        ("tenant", catalog.tenants),
        ("project", catalog.projects),
        ("budget", catalog.budgets),
    ):
        yield from _duplicates(resource, "name", ((row.id, row.name, row.name) for row in rows))
    tenants = {tenant.name: tenant for tenant in catalog.tenants}
    projects = {project.name: project for project in catalog.projects}
    for tenant in catalog.tenants:
        yield from tenant_faults(tenant)
    for project in catalog.projects:
        yield from project_faults(project, tenants)
    # Names of credentials may be shared by old rows; their keys must be unique.
    yield from _duplicates(
        "credential", "key", ((row.id, row.name, row.key_hash) for row in catalog.credentials)
    )
    for credential in catalog.credentials:
        yield from credential_faults(credential)
        if credential.tenant is not None or credential.project is not None:
            yield from membership_faults(credential, tenants, projects)
    for budget in catalog.budgets:
        yield from budget_faults(budget)


def _duplicates(resource: str, field: str, rows: Iterable[tuple[int, str, Hashable]]) -> Iterator[Fault]:
    """Yield a fault for each row whose value was seen before; `rows` are (id, label, value)."""
    seen: set[Hashable] = set()
    for row_id, row, value in rows:
        if value in seen:
            yield Fault(resource, row, field, f"{field} is used twice", row_id)
        seen.add(value)
