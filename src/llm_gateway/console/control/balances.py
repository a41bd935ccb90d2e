"""What is spent and held of budgets, as it is enforced, and as a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_gateway.core.money import usd_text
from llm_gateway.flow.ports.budgets import BalanceReader, BudgetBalance
from llm_gateway.flow.ports.catalog import StoreUnavailable


async def balance_bars(
    reader: BalanceReader, budget_ids: Sequence[int], amounts: Sequence[int | None]
) -> Sequence[Mapping[str, Any]]:
    """Return what templates show of each budget; `amounts` are in nano-USD, None where it cannot be read.

    `problem` says why a budget has no balance: "each" agent or user has one, or the database is "away".
    """
    try:
        balances = await reader.current(budget_ids)
    except StoreUnavailable:
        return [{"problem": "away"} for _ in budget_ids]
    return [
        _bar(balances.get(budget_id), amount) for budget_id, amount in zip(budget_ids, amounts, strict=True)
    ]


def _bar(balance: BudgetBalance | None, amount: int | None) -> Mapping[str, Any]:
    if balance is None:
        return {"problem": "each"}
    whole = amount or 1
    spent, held = balance.spent / whole, balance.held / whole
    style = "over" if spent >= 1 else "spent"
    return {
        "problem": None,
        "spent_usd": usd_text(balance.spent),
        "held_usd": usd_text(balance.held),
        "remaining_usd": usd_text(balance.remaining),
        "reset_at": balance.reset_at,
        "parts": ((spent, style, "spent"), (held, "held", "held")),
        "spent_share": spent,
        "held_share": held,
    }
