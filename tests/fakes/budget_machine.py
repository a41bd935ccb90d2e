"""A machine that spends budgets: its workers' shares, its keeper and the rows that it ships, on a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway.core.config.budgets import BudgetWindow, CompiledBudget, Covered, Spender
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.budgets import Hold, Shortage
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.keeper import Keeper
from llm_gateway.infra.budgets.share_file import ShareFile
from llm_gateway.infra.budgets.shares import SharedBudgets
from llm_gateway.infra.database.budgets.balances import BalanceRepository
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.database.budgets.posting import BudgetPosting, Holder
from llm_gateway.infra.database.usage.repository import UsageRepository
from tests.fakes.stores import Store
from tests.fakes.usage_records import record

_encode = msgspec.json.Encoder().encode
USD = 1_000_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def budget(**changes: Any) -> Budget:
    """Return a budget of one dollar that began to count a minute ago."""
    values: dict[str, Any] = {
        "id": 1,
        "name": "all",
        "scope": "all",
        "amount_nano_usd": USD,
        "period": "total",
        "counts_from": now_us() - 60_000_000,
        **changes,
    }
    return Budget(**values)


async def store_budget(store: Store, one: Budget) -> None:
    """Store a budget as an admin would."""
    models = "NULL" if one.models is None else "'[" + ",".join(f'"{name}"' for name in one.models) + "]'"
    subject = "NULL" if one.subject is None else f"'{one.subject}'"
    enabled = ("true" if one.is_enabled else "false") if store.is_postgres else int(one.is_enabled)
    moment = (
        f"'epoch'::timestamptz + {one.counts_from} * interval '1 microsecond'"
        if store.is_postgres
        else str(one.counts_from)
    )
    await store.sql(
        "INSERT INTO budgets (id, name, scope, subject, amount_nano_usd, period, models, is_enabled, counts_from) "
        f"VALUES ({one.id}, '{one.name}', '{one.scope}', {subject}, {one.amount_nano_usd}, '{one.period}', "
        f"{models}, {enabled}, {moment})"
    )


class BudgetWorker:
    """One worker of a machine."""

    def __init__(self, machine: BudgetMachine) -> None:
        self.file = ShareFile(machine.folder, "test", now_us())
        self.bell = Bell(self.file.folder / "bell")
        self.shares = SharedBudgets(self.file, self.bell)
        self.keeper = Keeper(self.file, self.bell, machine.balances, machine.flush, lease=machine.lease)

    async def close(self) -> None:
        self.shares.close()
        await self.keeper.close()
        self.bell.close()
        self.file.close()


class BudgetMachine:
    """The workers that share a folder; rows wait in a list until they are shipped."""

    def __init__(self, store: Store, folder: Path, *, lease: float = 60.0) -> None:
        self.folder = folder
        self.lease = lease
        definitions = DefinitionReader(UTC)
        self.balances = BalanceRepository(store.engine, definitions)
        posting = BudgetPosting(definitions)
        self.usage = UsageRepository(store.engine, [posting])
        self.unshipped: list[UsageRecord] = []
        self._shipping = asyncio.Lock()
        self.workers = [BudgetWorker(self)]
        file = self.workers[0].file
        posting.holder = Holder(file.holder, file.since)
        self._numbers = 0

    @property
    def shares(self) -> SharedBudgets:
        return self.workers[0].shares

    def add_worker(self) -> BudgetWorker:
        self.workers.append(BudgetWorker(self))
        return self.workers[-1]

    def start(self) -> None:
        for worker in self.workers:
            worker.keeper.start()

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()

    async def hold(
        self, windows: Sequence[Covered], amount: int, worker: int = 0, timeout: float = 5.0
    ) -> Hold | Shortage:
        shares = self.workers[worker].shares
        answer = shares.try_hold(windows, amount)
        if answer is None or (isinstance(answer, Shortage) and answer.reason == "short"):
            return await shares.hold(windows, amount, timeout)
        return answer

    def ended(self, cost: int | None, **changes: Any) -> UsageRecord:
        """Write the record of a request; it is stored when the rows are shipped."""
        self._numbers += 1
        values = {"created_at": now_us(), "cost_nano_usd": cost, **changes}
        one = record(f"{self.folder.name}-{self._numbers}", **values)
        self.unshipped.append(one)
        return one

    async def flush(self, timeout: float = 2.0) -> bool:
        """Ship everything."""
        del timeout
        async with self._shipping:
            batch = self.unshipped[:]
            if batch:
                await self.usage.upsert([_encode(one) for one in batch])
                del self.unshipped[: len(batch)]
        return True


def window(one: Budget, at: int | None = None, **names: Any) -> Covered:
    """Return the window that a request counts in now."""
    spender = Spender(**{"credential": "team", **names})
    covered = CompiledBudget(one).covered(spender, at or now_us(), UTC)
    assert covered is not None
    return covered


async def shown(store: Store, key: BudgetWindow) -> tuple[int, int]:
    """Return what the database shows as spent and held in a window."""
    state = (await BalanceRepository(store.engine, DefinitionReader(UTC)).read([key]))[0]
    return state.spent, state.held
