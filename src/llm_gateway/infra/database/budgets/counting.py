"""Counts the usage rows that a budget covers already, when it is new or was redefined."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from llm_gateway.core.config.accounts import CLAIMING_PROJECTS
from llm_gateway.core.config.budgets import BudgetWindow, CompiledBudget, Covered, covers_model
from llm_gateway.core.config.limits import BudgetScope
from llm_gateway.infra.database.budget_tables import budget_balances, counted_budgets
from llm_gateway.infra.database.budgets.definitions import (
    HAS_PROJECT,
    HAS_TENANT,
    VOUCHING,
    DefinitionReader,
    Definitions,
    stop_counting,
)
from llm_gateway.infra.database.budgets.posting import MOST
from llm_gateway.infra.database.catalog import credentials
from llm_gateway.infra.database.engine import writing
from llm_gateway.infra.database.tables import usage
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

_DAY_US: Final = 86_400_000_000
_COLUMNS: Final = {
    "credential": usage.c.credential,
    "tenant": usage.c.tenant,
    "project": usage.c.project,
    "agent": usage.c.agent,
    "user": usage.c.end_user,
}


async def count_new_budgets(engine: AsyncEngine, reader: DefinitionReader, now: int) -> int:
    """Give every budget that is not counted yet its balances; return how many there were.

    No usage row is added to any balance meanwhile, so each row counts once: here if it was stored before, and by
    its own transaction if it is stored later. `now` is in Unix microseconds.
    """
    try:
        async with writing(engine) as connection:
            await stop_counting(connection)
            definitions = await reader.read(connection)
            for revision, budget_id in enumerate(definitions.uncounted, definitions.revision + 1):
                compiled = definitions.index.by_id[budget_id]
                for covered in _windows(compiled, definitions, now):
                    await _count(connection, compiled, covered)
                await _mark(connection, budget_id, definitions.definitions[budget_id], revision)
            return len(definitions.uncounted)
    finally:
        reader.forget()


def _windows(compiled: CompiledBudget, definitions: Definitions, now: int) -> list[Covered]:
    """Return the windows that requests which began a day ago or later may count in.

    Older windows are over, and stay as they were counted.
    """
    last = now + _DAY_US
    at = max(now - _DAY_US, compiled.budget.counts_from)
    found = [compiled.window("", at, definitions.zone)]
    while (end := found[-1].end) is not None and end <= last:
        found.append(compiled.window("", end, definitions.zone))
    return found


async def _count(connection: AsyncConnection, compiled: CompiledBudget, covered: Covered) -> None:
    """Set the balances of one window, for each subject."""
    budget, start = compiled.budget, covered.window.start
    await connection.execute(
        sa.delete(budget_balances).where(
            budget_balances.c.budget_id == budget.id, budget_balances.c.window_start == start
        )
    )
    name: sa.ColumnElement[Any] = sa.literal("")
    conditions: list[sa.ColumnElement[bool]] = [usage.c.created_at >= start, usage.c.cost_nano_usd > 0]
    if covered.end is not None:
        conditions.append(usage.c.created_at < covered.end)
    if budget.scope != "all":
        column = _COLUMNS[budget.scope]
        if budget.subject is None:
            name = column
            conditions += [column.is_not(None), column != ""]
        else:
            conditions.append(column == budget.subject)
        if budget.scope != "credential":
            conditions.append(_is_believed(budget.scope))
    rows = await connection.execute(
        sa.select(name.label("name"), usage.c.model, sa.func.sum(usage.c.cost_nano_usd).label("spent"))
        .where(*conditions)
        .group_by(*([] if isinstance(name, sa.BindParameter) else [name]), usage.c.model)
    )
    sums: dict[BudgetWindow, int] = {}
    for row in rows:
        if covers_model(compiled, row.model):
            window = BudgetWindow(budget.id, row.name, start)
            sums[window] = sums.get(window, 0) + int(row.spent)
    if sums:
        await connection.execute(
            sa.insert(budget_balances),
            [
                {
                    "budget_id": window.budget_id,
                    "subject": window.subject,
                    "window_start": window.start,
                    "spent_nano_usd": min(spent, MOST),
                }
                for window, spent in sorted(sums.items())
            ],
        )


def _is_believed(scope: BudgetScope) -> sa.ColumnElement[bool]:
    """Return whether a usage row says more of the scope than a client's word, as `Definitions.spender` does."""
    columns = credentials.table.c
    is_believed: sa.ColumnElement[bool] = columns.trusts_attribution
    vouching = list(VOUCHING)
    if scope == "tenant":
        is_believed = sa.or_(is_believed, HAS_TENANT)
    elif scope == "project":
        is_believed = sa.or_(sa.and_(is_believed, columns.name != CLAIMING_PROJECTS), HAS_PROJECT)
        vouching.remove(CLAIMING_PROJECTS)
    believed = sa.select(columns.name).where(is_believed)
    return sa.or_(usage.c.credential.in_(believed), usage.c.credential.in_(vouching))


async def _mark(connection: AsyncConnection, budget_id: int, definition: str, revision: int) -> None:
    await connection.execute(sa.delete(counted_budgets).where(counted_budgets.c.budget_id == budget_id))
    values = {"budget_id": budget_id, "definition": definition, "revision": revision}
    await connection.execute(sa.insert(counted_budgets), values)
