"""Budgets: how much requests may cost together, what is spent and held of it, and resetting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from llm_gateway.console.control.balances import balance_bars
from llm_gateway.console.control.members import subject_names
from llm_gateway.console.editing.common_fields import ENABLED
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.editing.verbs import Verb
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.resources.budgets import BudgetChange, NewBudget, shown

_SCOPES = (
    ("all", "All requests together"),
    ("credential", "One credential"),
    ("tenant", "One tenant"),
    ("project", "One project"),
    ("agent", "An agent, or each agent"),
    ("user", "A user, or each user"),
)
_PERIODS = (
    ("day", "A calendar day"),
    ("month", "A calendar month"),
    ("total", "In total: it never begins again"),
)


def _fields(services: ConsoleServices, row: StoredBudget | None) -> Sequence[Field]:
    del row
    return (
        Field(name="name", label="Name", required=True, hint="Unique. Refusals name it to clients."),
        Field(name="amount_usd", label="Amount in USD", kind="decimal", required=True, placeholder="12.50"),
        Field(
            name="period",
            label="Period",
            kind="choice",
            options=_PERIODS,
            hint=f"Days and months are those of {services.time_zone}.",
        ),
        Field(name="scope", label="Counts the requests of", kind="choice", options=_SCOPES),
        Field(
            name="subject",
            label="Whose",
            suggestions="subjects",
            hint="The name of the credential, tenant, project, agent or user. Empty for all requests; empty for an "
            "agent or a user gives each of them the whole amount.",
        ),
        Field(
            name="models",
            label="Models",
            kind="lines",
            placeholder="all models",
            hint="Those that count, one a line; globs such as gpt-4o* are allowed.",
        ),
        ENABLED,
    )


async def _states(services: ConsoleServices, rows: Sequence[StoredBudget]) -> Sequence[Mapping[str, Any]]:
    amounts = [row.amount_nano_usd if isinstance(row.amount_nano_usd, int) else None for row in rows]
    return await balance_bars(services.balances, [row.id for row in rows], amounts)


async def _detail(request: Request, row: StoredBudget) -> Mapping[str, Any]:
    return {"state": (await _states(services_of(request), [row]))[0]}


PAGES = ResourcePages(
    stored=StoredBudget,
    path="/console/budgets",
    one="budget",
    title="Budgets",
    about="A budget is an amount that requests may cost together. A request first holds what it may cost, and is "
    "refused if less is left; when it ends, it has spent what it did cost. Refusals show these numbers.",
    empty="There are no budgets: requests may cost any amount. Create one to limit what they cost together.",
    new=NewBudget,
    change=BudgetChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/budgets.html",
    form_template="catalog/budget.html",
    defaults={"is_enabled": True, "period": "month", "scope": "all"},
    state=_states,
    suggestions=lambda services: {"subjects": subject_names(services)},
    detail=_detail,
)


async def _reset(
    services: ConsoleServices, row: StoredBudget, _body: object, options: EditOptions
) -> Edited[StoredBudget]:
    return await services.editor.reset_budget(row.id, options)


_RESET = Verb(
    pages=PAGES,
    name="reset",
    title="Reset",
    done="reset",
    is_dangerous=True,
    says=lambda _services, _row: (
        "It counts from now on: what was spent so far counts no longer, so that the whole amount can be spent again.",
        "Costs of earlier requests stay in usage rows. This cannot be undone.",
    ),
    run=_reset,
)

ROUTES = [*_RESET.routes(), *PAGES.routes()]
