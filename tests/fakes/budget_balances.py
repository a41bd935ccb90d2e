"""Balances in memory, which can be away, and which other machines can spend."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.flow.ports.budgets import Balances, Trade, WindowState
from llm_gateway.flow.ports.catalog import StoreUnavailable


class MemoryBalances(Balances):
    """Every window has the same amount; one machine trades, `others` and `spent` are set by the test."""

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.others = 0
        self.spent = 0
        self.is_away = False
        self.trades = 0
        self.holds: dict[BudgetWindow, tuple[int, int]] = {}

    def state(self, window: BudgetWindow) -> WindowState:
        borrowed, shipped = self.holds.get(window, (0, 0))
        return WindowState(
            amount=self.amount, spent=self.spent, others=self.others, borrowed=borrowed, shipped=shipped
        )

    async def trade(self, holder: str, lease: float, trades: Sequence[Trade]) -> Sequence[WindowState]:
        del holder, lease
        self._answer()
        states = []
        for trade in trades:
            self.trades += 1
            if trade.base is not None:
                self.holds[trade.window] = (trade.base, trade.base)
            state = self.state(trade.window)
            if trade.settled is not None:
                state = msgspec.structs.replace(state, shipped=trade.settled)
            state = msgspec.structs.replace(state, borrowed=state.borrowed + trade.change(state))
            states.append(state)
            self.holds[trade.window] = (state.borrowed, state.shipped)
            if trade.is_last:
                del self.holds[trade.window]
        return states

    async def read(self, windows: Sequence[BudgetWindow]) -> Sequence[WindowState]:
        self._answer()
        return [self.state(window) for window in windows]

    async def delete_ended_holds(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.is_away:
            raise StoreUnavailable("The database does not answer")
