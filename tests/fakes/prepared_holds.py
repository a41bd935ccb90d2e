"""Holds amounts in prepared windows as the limit on budgets does."""

from __future__ import annotations

from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.ports.budgets import PreparedHold, Shortage
from llm_gateway.flow.ports.limits import Reservation


def hold(prepared: PreparedHold, amount: int) -> Reservation | Shortage | None:
    held = prepared.try_hold(amount)
    return prepared.hold(amount) if held is None else held


def unheard(record: SettledRequest) -> None:
    """Be told of a record by a reservation that nobody listens to."""
    del record
