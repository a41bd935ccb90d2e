"""Balances on both stores: what machines trade, what is shown, when holds end, and which notices are due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.flow.ports.budgets import Trade, WindowState
from llm_gateway.infra.database.budgets.balances import BalanceRepository, threshold
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.database.budgets.notices import NoticeRepository
from tests.fakes.budget_machine import budget, now_us, store_budget, window
from tests.fakes.stores import Store, opened

LEASE = 60.0


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


@pytest.fixture
def balances(store: Store) -> BalanceRepository:
    return BalanceRepository(store.engine, DefinitionReader(UTC))


@pytest.fixture
async def key(store: Store) -> BudgetWindow:
    one = budget(amount_nano_usd=1000)
    await store_budget(store, one)
    return window(one).window


def by(amount: int) -> Callable[[WindowState], int]:
    return lambda _: amount


async def trade(
    balances: BalanceRepository,
    key: BudgetWindow,
    amount: int,
    holder: str = "m",
    lease: float = LEASE,
    **more: int,
) -> WindowState:
    (state,) = await balances.trade(
        holder,
        lease,
        [Trade(window=key, change=by(amount), **more)],  # type: ignore[arg-type]
    )
    return state


async def spend(store: Store, amount: int) -> None:
    await store.sql("UPDATE budget_balances SET spent_nano_usd = :amount", amount=amount)


async def test_machines_see_what_others_hold(balances: BalanceRepository, key: BudgetWindow) -> None:
    assert (await trade(balances, key, 300)).left == 700
    second = await trade(balances, key, 200, "other")
    assert (second.own, second.others, second.left) == (200, 300, 500)
    assert (await trade(balances, key, -100)).own == 200
    (shown,) = await balances.read([key])
    assert (shown.spent, shown.held, shown.left) == (0, 400, 600)


async def test_a_hold_ends_with_its_lease(balances: BalanceRepository, key: BudgetWindow) -> None:
    await trade(balances, key, 300, lease=0.05)
    await asyncio.sleep(0.1)
    assert (await balances.read([key]))[0].held == 0
    assert (await trade(balances, key, 900, "other")).left == 100
    # The machine finds its own numbers again, and nothing left for them.
    assert (await trade(balances, key, 0)).left == -200


async def test_a_hold_from_under_another_clock_is_none(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    await trade(balances, key, 300, lease=3600)
    assert (await balances.read([key]))[0].held == 0
    assert (await store.sql("SELECT borrowed_nano_usd FROM budget_holds"))[0][0] == 300


async def test_a_machine_that_begins_anew_holds_nothing_of_before(
    balances: BalanceRepository, key: BudgetWindow
) -> None:
    await trade(balances, key, 300)
    again = await trade(balances, key, 50, base=7)
    assert (again.borrowed, again.shipped, again.own) == (57, 7, 50)


async def test_what_is_stored_sets_the_hold_right(balances: BalanceRepository, key: BudgetWindow) -> None:
    await trade(balances, key, 300)
    assert (await trade(balances, key, 0, settled=120)).own == 180


async def test_the_last_trade_deletes_the_hold(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    await trade(balances, key, 300)
    await trade(balances, key, 0, is_last=True)
    assert await store.sql("SELECT * FROM budget_holds") == []


async def test_a_disabled_budget_has_nothing_to_borrow(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    await store.sql("UPDATE budgets SET is_enabled = false")
    assert (await trade(balances, key, 0)).amount == 0


async def test_parallel_machines_do_not_borrow_more_than_there_is(
    balances: BalanceRepository, key: BudgetWindow
) -> None:
    def half(state: WindowState) -> int:
        return max(state.left, 0) // 2

    trades = [Trade(window=key, change=half)]
    await asyncio.gather(*(balances.trade(f"m{number}", LEASE, trades) for number in range(8)))
    (shown,) = await balances.read([key])
    # 500, 250, 125, 62, 31, 16, 8, 4
    assert shown.held == 996


async def test_the_current_balance_is_what_the_trades_say(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    await store_budget(store, budget(id=2, name="each", scope="agent"))
    await trade(balances, key, 300)
    await spend(store, 600)
    found = await balances.current([1, 2, 99])
    assert list(found) == [1]
    assert (found[1].spent, found[1].held, found[1].remaining, found[1].reset_at) == (600, 300, 100, None)


async def test_holds_of_machines_that_are_gone_are_deleted_after_a_day(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    await trade(balances, key, 300, lease=-90_000)
    await trade(balances, key, 300, "other")
    await balances.delete_ended_holds()
    assert await store.sql("SELECT holder FROM budget_holds") == [("other",)]


@pytest.mark.parametrize(
    ("spent", "is_refused", "expected"),
    [(0, True, 0), (799, True, 0), (800, False, 80), (800, True, 100), (950, False, 95), (1000, False, 100)],
)
def test_thresholds(spent: int, is_refused: bool, expected: int) -> None:
    state = WindowState(amount=1000, spent=spent, others=0, borrowed=0, shipped=0)
    assert threshold(state, is_refused=is_refused) == expected


async def test_each_threshold_is_one_notice(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    clock = [now_us()]
    notices = NoticeRepository(store.engine, DefinitionReader(UTC), lambda: clock[0])
    await trade(balances, key, 10)
    assert await notices.claim() == []
    await spend(store, 850)
    for _ in range(2):
        await trade(balances, key, 0)
    (first,) = await notices.claim()
    assert (first.percent, first.spent, first.tries, first.budget.name) == (80, 850, 1, "all")
    # Somebody sends it already.
    assert await notices.claim() == []
    # The sender has died.
    clock[0] += 61_000_000
    (again,) = await notices.claim()
    assert (again.id, again.tries) == (first.id, 2)
    assert await notices.finish(again, is_delivered=False)
    assert await notices.claim() == []
    clock[0] += 5_000_000
    (third,) = await notices.claim()
    assert await notices.finish(third, is_delivered=True)
    await trade(balances, key, 0)
    clock[0] += 10**10
    assert await notices.claim() == []
    await spend(store, 1000)
    await trade(balances, key, 0)
    (last,) = await notices.claim()
    assert (last.percent, last.tries, last.id != first.id) == (100, 1, True)


async def test_a_notice_that_nobody_takes_is_given_up(
    store: Store, balances: BalanceRepository, key: BudgetWindow
) -> None:
    clock = [now_us()]
    notices = NoticeRepository(store.engine, DefinitionReader(UTC), lambda: clock[0])
    await spend(store, 0)
    await trade(balances, key, 0)
    await spend(store, 1000)
    await trade(balances, key, 0)
    for tries in range(1, 41):
        clock[0] += 4_000_000_000
        (notice,) = await notices.claim()
        assert notice.tries == tries
        assert await notices.finish(notice, is_delivered=False) is (tries < 40)
    clock[0] += 10**12
    assert await notices.claim() == []
