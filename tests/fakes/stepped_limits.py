"""The limits of a stepped gateway: a ledger of use, budgets, and what counts reservations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import UTC
from typing import cast

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.ports.budgets import BudgetShares, Hold
from llm_gateway.flow.ports.budgets import Shortage as BudgetShortage
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.limits import Demand, Limit, Reservation, Verdict
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from llm_gateway.infra.use_limits.ledger import Admitted, UseLedger
from llm_gateway.infra.use_limits.memory import ACCOUNTS, CHUNKS, OPEN, LocalMemory


class LedgerStore(UseStore):
    """The ledger of limits of use, in this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._memory = LocalMemory()
        self._ledger = UseLedger(
            self._memory,
            0,
            UTC,
            monotonic_ns=lambda: round(clock.monotonic() * 1e9),
            unix_us=clock.unix_us,
        )

    def hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        answer = self._ledger.hold(claims)
        if isinstance(answer, Admitted):
            return HeldUse(answer, answer.requests, answer.tokens)
        return answer

    def settle(self, held: HeldUse, tokens: int) -> None:
        self._ledger.settle(cast("Admitted", held.token).taken, tokens)

    def release(self, held: HeldUse) -> None:
        self._ledger.release(cast("Admitted", held.token).taken)

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        return self._ledger.shortage(claims)

    def open_holds(self) -> int:
        head = self._memory.head
        return sum(head[OPEN : OPEN + head[CHUNKS] * ACCOUNTS].tolist())

    def used(self) -> bytes:
        return bytes(self._memory.chunk(0)) if self._memory.head[CHUNKS] else b""


class Purse(BudgetShares):
    """Budgets that are all borrowed already."""

    def __init__(self) -> None:
        self.spent: Counter[BudgetWindow] = Counter()
        self.held: Counter[BudgetWindow] = Counter()

    def try_hold(self, windows: Sequence[Covered], amount: int) -> Hold | BudgetShortage | None:
        for one in windows:
            spent, held = self.spent[one.window], self.held[one.window]
            if spent + held + amount > one.budget.amount_nano_usd:
                return BudgetShortage(one, "spent", spent, held)
        return _Held(self, [one.window for one in windows], amount)

    async def hold(self, windows: Sequence[Covered], amount: int, timeout: float) -> Hold | BudgetShortage:
        raise AssertionError("nothing is short")

    def hold_nothing(self, windows: Sequence[Covered]) -> Hold:
        raise AssertionError("nothing is unavailable")


class _Held(Hold):
    def __init__(self, purse: Purse, windows: list[BudgetWindow], amount: int) -> None:
        self._purse, self._windows, self._amount = purse, windows, amount
        purse.held.update(dict.fromkeys(windows, amount))

    def settle(self, cost_nano_usd: int) -> None:
        self.release()
        self._purse.spent.update(dict.fromkeys(self._windows, cost_nano_usd))

    def release(self) -> None:
        self._purse.held.subtract(dict.fromkeys(self._windows, self._amount))
        self._windows, self._amount = self._windows, 0


class Bookings(Limit):
    """Counts what is reserved and how it ends. The verdict for the credential `waiting` takes half a second."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: Counter[str] = Counter()

    def check(self, account: Principal, /) -> None: ...

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        return self._later() if account.credential.name == "waiting" else self._now()

    def _now(self) -> Verdict:
        self.begun += 1
        return Verdict(True, 0, 0, 0.0, 0.0, _Booking(self, self.begun))

    async def _later(self) -> Verdict:
        await asyncio.sleep(0.5)
        return self._now()


class _Booking(Reservation):
    def __init__(self, bookings: Bookings, number: int) -> None:
        self._bookings, self._number = bookings, number
        self._is_open = True

    def settle(self, record: SettledRequest) -> None:
        self._end(f"settled {record.outcome}")

    def release(self) -> None:
        self._end("released")

    def _end(self, how: str) -> None:
        assert self._is_open, f"reservation {self._number} ends twice"
        self._is_open = False
        self._bookings.ended[how] += 1
