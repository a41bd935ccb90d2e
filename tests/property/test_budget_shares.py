"""Workers hold, settle and die, rows are shipped, shares are borrowed: no money appears or is lost on the way."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from llm_gateway.flow.ports.budgets import HoldReservation, PreparedHold, Shortage
from llm_gateway.flow.ports.limits import Reservation
from llm_gateway.infra.budgets.share_file import HOLDS
from tests.fakes.budget_machine import BudgetMachine, BudgetWorker, budget, store_budget, window
from tests.fakes.prepared_holds import hold, unheard
from tests.fakes.stores import Store, opened

AMOUNT = 1000
"""In nano-USD: small, so that the end of a budget is reached in most runs."""


class SharesMachine(RuleBasedStateMachine):
    """Two machines with two workers each; requests that hold at least what they cost, some that hold too little."""

    open_requests = Bundle("open_requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.stack = opened(None, Path(self.folder.name), start=False)
        self.store: Store = self.do(self.stack.__aenter__())
        self.budget = budget(amount_nano_usd=AMOUNT)
        self.do(store_budget(self.store, self.budget))
        self.covered = [window(self.budget)]
        self.machines = [
            BudgetMachine(self.store, Path(self.folder.name) / name, lease=3600.0) for name in ("a", "b")
        ]
        for machine in self.machines:
            machine.add_worker()
        # What requests cost beyond what they held: the only reason to exceed the amount.
        self.excess = 0
        # By request: its machine, its worker and what it holds.
        self.held: dict[int, tuple[BudgetMachine, BudgetWorker, Reservation, int]] = {}
        self.number = 0
        self.prepared: dict[BudgetWorker, PreparedHold] = {}

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @rule(
        target=open_requests,
        machine=st.integers(0, 1),
        worker=st.integers(0, 1),
        amount=st.integers(0, 200),
        is_prepared=st.booleans(),
    )
    def hold(self, machine: int, worker: int, amount: int, is_prepared: bool) -> Any:
        where = self.machines[machine]
        chosen = where.workers[worker]
        if is_prepared:
            if chosen not in self.prepared:
                self.prepared[chosen] = chosen.shares.prepare(self.covered, unheard, unheard)
            answer = hold(self.prepared[chosen], amount)
        else:
            found = chosen.shares.try_hold(self.covered, amount)
            assert found is not None
            answer = found if isinstance(found, Shortage) else HoldReservation(found, unheard, unheard)
        assert answer is not None
        if isinstance(answer, Shortage):
            return multiple()
        self.number += 1
        self.held[self.number] = (where, chosen, answer, amount)
        return self.number

    @rule(request=consumes(open_requests), extra=st.integers(-200, 20))
    def settle(self, request: int, extra: int) -> None:
        if request not in self.held:
            return
        machine, _, held, amount = self.held.pop(request)
        cost = max(amount + extra, 0)
        self.excess += max(cost - amount, 0)
        held.settle(machine.ended(cost))

    @rule(request=consumes(open_requests))
    def release(self, request: int) -> None:
        if request in self.held:
            self.held.pop(request)[2].release()

    @rule(machine=st.integers(0, 1))
    def ship(self, machine: int) -> None:
        self.do(self.machines[machine].flush())

    @rule(machine=st.integers(0, 1))
    def borrow(self, machine: int) -> None:
        keeper = self.machines[machine].workers[0].keeper
        self.do(keeper.round())

    @rule(machine=st.integers(0, 1))
    def kill_a_worker(self, machine: int) -> None:
        """The second worker dies with its open requests, and is replaced."""
        where = self.machines[machine]
        dead = where.workers[1]
        for request in [key for key, one in self.held.items() if one[1] is dead]:
            del self.held[request]
        dead.bell.close()
        dead.file.close()
        where.workers[1] = BudgetWorker(where)

    @invariant()
    def the_budget_is_exceeded_by_excess_costs_alone(self) -> None:
        spent = self.spent()
        unshipped = sum(one.cost_nano_usd or 0 for m in self.machines for one in m.unshipped)
        in_flight = sum(one[3] for one in self.held.values())
        assert spent + unshipped + in_flight <= AMOUNT + self.excess

    @invariant()
    def what_is_spent_is_what_the_rows_cost(self) -> None:
        rows = self.do(self.store.sql("SELECT coalesce(sum(cost_nano_usd), 0) FROM usage"))
        assert self.spent() == rows[0][0]

    @invariant()
    def a_machine_holds_what_its_requests_need(self) -> None:
        """Its hold in the database covers what is on hand, what open requests hold, and what is not stored yet."""
        for machine in self.machines:
            file = machine.workers[0].file
            holds = self.do(
                self.store.sql(
                    "SELECT borrowed_nano_usd - shipped_nano_usd FROM budget_holds WHERE holder = :holder",
                    holder=file.holder,
                )
            )
            in_database = holds[0][0] if holds else 0
            with file.locked():
                slot = file.find(self.covered[0].window)
                on_hand = 0 if slot is None else file.on_hand(slot)
                held = 0 if slot is None else file.sum(slot, HOLDS)
            unshipped = sum(one.cost_nano_usd or 0 for one in machine.unshipped)
            assert in_database == on_hand + held + unshipped

    def spent(self) -> int:
        rows = self.do(self.store.sql("SELECT coalesce(sum(spent_nano_usd), 0) FROM budget_balances"))
        return int(rows[0][0])

    def teardown(self) -> None:
        for _, _, held, _ in self.held.values():
            held.release()
        for machine in self.machines:
            self.do(machine.flush())
            self.do(machine.close())
        holds = self.do(self.store.sql("SELECT borrowed_nano_usd - shipped_nano_usd FROM budget_holds"))
        assert [one[0] for one in holds if one[0]] == []
        self.do(self.stack.__aexit__(None, None, None))
        self.loop.close()
        self.folder.cleanup()


SharesMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestShares = SharesMachine.TestCase
