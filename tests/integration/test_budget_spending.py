"""Machines spend budgets at once: what is admitted, what is stored and what is shown agree to the nano-dollar."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.flow.ports.budgets import Shortage
from tests.fakes.budget_machine import USD, BudgetMachine, budget, now_us, shown, store_budget, window
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def spend(
    machine: BudgetMachine, windows: list[Covered], amount: int, cost: int, worker: int = 0
) -> bool:
    hold = await machine.hold(windows, amount, worker)
    if isinstance(hold, Shortage):
        assert hold.reason == "spent", hold
        return False
    await asyncio.sleep(random.random() / 100)
    machine.ended(cost)
    hold.settle(cost)
    return True


@pytest.mark.parametrize("workers", [1, 4])
async def test_two_thousand_parallel_requests_spend_the_budget_and_no_more(
    store: Store, tmp_path: Path, workers: int
) -> None:
    one = budget(amount_nano_usd=USD)
    await store_budget(store, one)
    machine = BudgetMachine(store, tmp_path / "m")
    for _ in range(workers - 1):
        machine.add_worker()
    machine.start()
    covered = [window(one)]
    cost = USD // 1000
    admitted = await asyncio.gather(
        *(spend(machine, covered, cost, cost, number % workers) for number in range(2000))
    )
    assert sum(admitted) == 1000
    await machine.flush()
    assert await shown(store, covered[0].window) == (USD, 0)
    await machine.close()
    assert await shown(store, covered[0].window) == (USD, 0)


async def test_two_machines_share_one_budget(store: Store, tmp_path: Path) -> None:
    one = budget(amount_nano_usd=USD)
    await store_budget(store, one)
    machines = [BudgetMachine(store, tmp_path / name, lease=2.0) for name in ("a", "b")]
    for machine in machines:
        machine.start()
    covered = [window(one)]
    cost = USD // 500
    admitted = 0
    for _ in range(20):
        results = await asyncio.gather(
            *(spend(machine, covered, cost, cost) for machine in machines for _ in range(25))
        )
        admitted += sum(results)
        if not any(results):
            await asyncio.sleep(0.3)
    for machine in machines:
        await machine.flush()
    spent, held = await shown(store, covered[0].window)
    assert spent == admitted * cost
    assert spent + held <= USD
    assert admitted >= 480
    for machine in machines:
        await machine.close()
    assert await shown(store, covered[0].window) == (admitted * cost, 0)


async def test_what_is_shown_is_what_is_stored_and_held(store: Store, tmp_path: Path) -> None:
    one = budget(amount_nano_usd=100 * USD)
    await store_budget(store, one)
    machine = BudgetMachine(store, tmp_path / "m", lease=1.0)
    machine.start()
    covered = [window(one)]
    hold = await machine.hold(covered, 2 * USD)
    assert not isinstance(hold, Shortage)
    spent, held = await shown(store, covered[0].window)
    assert (spent, held >= 2 * USD) == (0, True)
    machine.ended(3 * USD)
    hold.settle(3 * USD)
    await machine.flush()
    spent, _ = await shown(store, covered[0].window)
    assert spent == 3 * USD
    # Idle for as long as a lease lasts: everything is returned.
    await until_held(store, covered[0].window, 0)
    # An empty hold is deleted by the next visit of its machine.
    for _ in range(100):
        if not await store.sql("SELECT 1 FROM budget_holds"):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the hold of an idle machine stays")
    # Only now: on a busy machine, a lease may end before its holder renews it.
    assert await shown(store, covered[0].window) == (3 * USD, 0)
    # And the next request is served from a new share.
    hold = await machine.hold(covered, USD)
    assert not isinstance(hold, Shortage)
    hold.release()
    await until_held(store, covered[0].window, 0)
    await machine.close()


async def until_held(store: Store, key: BudgetWindow, wanted: int, timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while (await shown(store, key))[1] != wanted:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def test_rows_from_before_a_budget_was_known_are_counted_once(store: Store, tmp_path: Path) -> None:
    machine = BudgetMachine(store, tmp_path / "m")
    machine.ended(5)
    machine.ended(7, created_at=now_us() - 3_600_000_000)
    machine.ended(None)
    await machine.flush()
    one = budget()
    await store_budget(store, one)
    machine.ended(11)
    await machine.flush()
    assert await shown(store, window(one).window) == (16, 0)
    machine.ended(13)
    await machine.flush()
    assert await shown(store, window(one).window) == (29, 0)
    # Stored twice, counted once.
    await machine.usage.upsert([msgspec.json.encode(machine.ended(17))])
    await machine.flush()
    assert await shown(store, window(one).window) == (46, 0)
    await machine.close()


async def test_a_budget_is_exceeded_by_what_requests_in_flight_cost_beyond_their_holds(
    store: Store, tmp_path: Path
) -> None:
    """Without max_tokens replies may be longer than expected: the bound of docs/budgets.md."""
    one = budget(amount_nano_usd=USD)
    await store_budget(store, one)
    machine = BudgetMachine(store, tmp_path / "m")
    machine.add_worker()
    machine.start()
    covered = [window(one)]
    in_flight, held, cost = 40, USD // 1000, 3 * USD // 1000
    places = asyncio.Semaphore(in_flight)

    async def ask(number: int) -> bool:
        async with places:
            return await spend(machine, covered, held, cost, number % 2)

    admitted = sum(await asyncio.gather(*map(ask, range(2000))))
    await machine.flush()
    spent, _ = await shown(store, covered[0].window)
    assert spent == admitted * cost
    assert USD - held < spent <= USD + in_flight * (cost - held)
    await machine.close()
