"""A worker over balances in memory, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.flow.ports.budgets import Hold, Shortage
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.keeper import Keeper
from llm_gateway.infra.budgets.share_file import ShareFile
from llm_gateway.infra.budgets.shares import SharedBudgets
from tests.fakes.budget_balances import MemoryBalances

SECOND = 1_000_000_000
LEASE = 60.0


class Desk:
    """One worker; what is held is tried at once, and rounds are made by hand."""

    def __init__(self, folder: Path, balances: MemoryBalances) -> None:
        self.now = 1000 * SECOND
        self.unix_us = 10**15
        self.balances = balances
        self.is_stored = True
        self.wanted: tuple[object, list[Covered]] = (None, [])
        self.file = ShareFile(folder, "db", 1)
        self.bell = Bell(self.file.folder / "bell")
        self.shares = SharedBudgets(self.file, self.bell, lambda: self.now)
        self.keeper = Keeper(
            self.file,
            self.bell,
            balances,
            self.flush,
            lease=LEASE,
            wanted=self.want,
            clock=lambda: self.now,
            unix_us=lambda: self.unix_us,
        )

    async def flush(self, timeout: float) -> bool:
        del timeout
        return self.is_stored

    def want(self, known: object) -> tuple[object, list[Covered]]:
        return self.wanted if self.wanted[0] != known else (known, [])

    def later(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        self.unix_us += round(seconds * 1e6)

    def hold(self, amount: int, *windows: Covered) -> Hold:
        answer = self.shares.try_hold(windows or [covered()], amount)
        assert answer is not None
        assert not isinstance(answer, Shortage), answer
        return answer

    def shortage(self, amount: int, *windows: Covered) -> Shortage:
        answer = self.shares.try_hold(windows or [covered()], amount)
        assert isinstance(answer, Shortage), answer
        return answer

    @property
    def on_hand(self) -> int:
        with self.file.locked():
            slot = self.file.find(covered().window)
            return 0 if slot is None else self.file.on_hand(slot)

    def own(self) -> int:
        """Return what the machine holds according to the balances."""
        return self.balances.state(covered().window).own

    async def close(self) -> None:
        self.shares.close()
        self.bell.close()
        self.file.close()


def covered(budget_id: int = 1, *, end: int | None = None, start: int = 1) -> Covered:
    budget = Budget(id=budget_id, name="b", scope="all", amount_nano_usd=1000, period="total", counts_from=1)
    return Covered(budget, BudgetWindow(budget_id, "", start), end)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path, MemoryBalances(1000))
    yield made
    await made.close()
