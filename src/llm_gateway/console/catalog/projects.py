"""Projects: what credentials work on, of one tenant or of none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from llm_gateway.console.control.members import budgets_of, credentials_of, tenant_names, with_balances
from llm_gateway.console.editing.common_fields import ENABLED, limit_fields
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.rows.tenants import StoredProject
from llm_gateway.resources.projects import NewProject, ProjectChange, shown


def _fields(services: ConsoleServices, row: StoredProject | None) -> Sequence[Field]:
    del services, row
    return (
        Field(
            name="name", label="Name", required=True, hint="Unique. Credentials, budgets and usage name it."
        ),
        Field(
            name="tenant",
            label="Tenant",
            suggestions="tenants",
            placeholder="none",
            hint="Its credentials are then of this tenant. Empty: credentials of any tenant may use it.",
        ),
        ENABLED,
        *limit_fields("limits", "Limits of all its credentials together"),
    )


async def _detail(request: Request, row: StoredProject) -> Mapping[str, Any]:
    services = services_of(request)
    return {
        "credentials": credentials_of(services, project=row.name),
        "budgets": await with_balances(services, budgets_of(services, "project", row.name)),
    }


PAGES = ResourcePages(
    stored=StoredProject,
    path="/console/projects",
    one="project",
    title="Projects",
    about="A project is what credentials work on. Its limits and budgets hold for all of its credentials together.",
    empty="There are no projects. Create one to give the credentials of one piece of work limits or a budget.",
    new=NewProject,
    change=ProjectChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/projects.html",
    form_template="catalog/owner.html",
    defaults={"is_enabled": True},
    suggestions=lambda services: {"tenants": tenant_names(services)},
    detail=_detail,
)
