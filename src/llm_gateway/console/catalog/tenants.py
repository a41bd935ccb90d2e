"""Tenants: customers, departments or teams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from llm_gateway.console.control.members import budgets_of, credentials_of, projects_of, with_balances
from llm_gateway.console.editing.common_fields import ENABLED, limit_fields
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.rows.tenants import StoredTenant
from llm_gateway.resources.tenants import NewTenant, TenantChange, shown


def _fields(services: ConsoleServices, row: StoredTenant | None) -> Sequence[Field]:
    del services, row
    return (
        Field(
            name="name", label="Name", required=True, hint="Unique. Credentials, budgets and usage name it."
        ),
        ENABLED,
        *limit_fields("limits", "Limits of all its credentials together"),
    )


async def _detail(request: Request, row: StoredTenant) -> Mapping[str, Any]:
    services = services_of(request)
    return {
        "credentials": credentials_of(services, tenant=row.name),
        "projects": projects_of(services, row.name),
        "budgets": await with_balances(services, budgets_of(services, "tenant", row.name)),
    }


PAGES = ResourcePages(
    stored=StoredTenant,
    path="/console/tenants",
    one="tenant",
    title="Tenants",
    about="A tenant is a customer, a department or a team. Its limits and budgets hold for all of its credentials "
    "together.",
    empty="There are no tenants. Create one to give several credentials limits or a budget together.",
    new=NewTenant,
    change=TenantChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/tenants.html",
    form_template="catalog/owner.html",
    defaults={"is_enabled": True},
    detail=_detail,
)
