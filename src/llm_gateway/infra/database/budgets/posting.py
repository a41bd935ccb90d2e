"""Adds the costs of usage rows to what budgets have spent, in the transaction that stores the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.database.budgets.definitions import DefinitionReader, Definitions, share_counting
from llm_gateway.infra.database.postings import StoredChange, UsagePosting
from llm_gateway.infra.database.tables import UnixMicros
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

# What 64 bits hold; a provider may state any cost.
MOST: Final = 2**63 - 1
_AT: Final = sa.bindparam("window_start", type_=UnixMicros)
_SPENT_MORE = sa.text(
    "INSERT INTO budget_balances (budget_id, subject, window_start, spent_nano_usd) "
    "VALUES (:budget_id, :subject, :window_start, :amount) "
    "ON CONFLICT (budget_id, subject, window_start) DO UPDATE SET spent_nano_usd = "
    "CASE WHEN budget_balances.spent_nano_usd > 9223372036854775807 - excluded.spent_nano_usd "
    "THEN 9223372036854775807 ELSE budget_balances.spent_nano_usd + excluded.spent_nano_usd END"
).bindparams(_AT)
_HOLD_LESS = sa.text(
    "UPDATE budget_holds SET shipped_nano_usd = shipped_nano_usd + :amount "
    "WHERE budget_id = :budget_id AND subject = :subject AND window_start = :window_start "
    "AND holder = :holder AND shipped_nano_usd < 9223372036854775807 - :amount"
).bindparams(_AT)


class Holder(NamedTuple):
    """The machine as it is named in its holds; it charged its share with requests that began at `since` or later."""

    name: str
    since: int


class BudgetPosting(UsagePosting):
    """Each row counts in every budget that covers it; what the machine that made it holds gets less by the same.

    A budget that is not counted yet is left out: its first count waits for this transaction, and finds its rows.
    """

    def __init__(self, definitions: DefinitionReader, holder: Holder | None = None) -> None:
        self._definitions = definitions
        # The machine whose rows are stored; None while it holds nothing of any budget.
        self.holder = holder

    async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
        # Without a call for each row: most batches of an installation without prices have nothing to add.
        priced = [
            (one.record, one.before)
            for one in changes
            if one.record.cost_nano_usd or (one.before is not None and one.before.cost_nano_usd)
        ]
        if not priced:
            return
        await share_counting(connection)
        definitions = await self._definitions.read(connection)
        if not definitions.counted:
            return
        holder = self.holder
        spent: dict[BudgetWindow, int] = {}
        shipped: dict[BudgetWindow, int] = {}
        for record, before in priced:
            # A row whose price was corrected later was shipped already.
            is_shipped_now = before is None or before.outcome == "interrupted"
            for fact, sign in ((record, 1), (before, -1)):
                amount = _cost(fact)
                if fact is None or not amount:
                    continue
                for window in covering(definitions, fact):
                    spent[window] = spent.get(window, 0) + sign * amount
                    if holder is not None and is_shipped_now and fact.created_at >= holder.since:
                        shipped[window] = shipped.get(window, 0) + sign * amount
        if spent:
            await connection.execute(_SPENT_MORE, _sorted(spent))
        if shipped and holder is not None:
            rows = [{**row, "holder": holder.name} for row in _sorted(shipped)]
            await connection.execute(_HOLD_LESS, rows)


def covering(definitions: Definitions, record: UsageRecord) -> list[BudgetWindow]:
    """Return the windows of counted budgets that a usage row counts in."""
    found = definitions.index.covering(
        definitions.spender(record), record.model, record.created_at, definitions.zone
    )
    return [one.window for one in found if one.budget.id in definitions.counted]


def _cost(record: UsageRecord | None) -> int:
    return 0 if record is None or record.cost_nano_usd is None else record.cost_nano_usd


def _sorted(amounts: Mapping[BudgetWindow, int]) -> list[dict[str, Any]]:
    return [{**window_key(window), "amount": min(amount, MOST)} for window, amount in sorted(amounts.items())]


def window_key(window: BudgetWindow) -> dict[str, Any]:
    """Return the parameters that name a window in a statement."""
    return {"budget_id": window.budget_id, "subject": window.subject, "window_start": window.start}
