"""`/admin/v1/budgets`: how much requests may cost together."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Response

from llm_gateway.admin.crud import CHANGE_RESPONSES, Crud
from llm_gateway.admin.services import Services
from llm_gateway.admin.write_options import Options
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.resources.budgets import (
    BudgetChange,
    BudgetPage,
    BudgetView,
    NewBudget,
    WrittenBudget,
    balances_of,
    shown,
)

router = APIRouter(prefix="/budgets", tags=["budgets"])

_CRUD = Crud(
    stored=StoredBudget,
    name="budget",
    new=NewBudget,
    change=BudgetChange,
    view=BudgetView,
    written=WrittenBudget,
    page=BudgetPage,
    shown=shown,
    state=lambda services, rows: balances_of(services.balances, rows),
    with_slashes=True,
    docs={
        "create": "Create a budget; it counts requests from now on.",
        "list": "List budgets by id.",
        "get": "Show one budget, by id or name.",
        "change": "Change the fields in the body; the others stay as they are.",
        "delete": "Delete a budget; usage rows keep what requests cost.",
    },
)


@router.post("/{budget:path}/reset", response_model_exclude_unset=True, responses=CHANGE_RESPONSES)
async def reset_budget(
    budget: str, services: Services, options: Options, response: Response
) -> WrittenBudget:
    """Count from now on. What was spent before stays in usage rows, and counts for this budget no longer."""
    edited = await services.editor.reset_budget(_CRUD.ref(budget), options)
    return cast("WrittenBudget", _CRUD.answer(edited, services, response))


_CRUD.add_to(router)
