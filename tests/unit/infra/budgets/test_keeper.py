"""The keeper borrows what is needed, renews it, returns it, and sets right what was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from llm_gateway.flow.ports.budgets import Shortage
from llm_gateway.infra.budgets.share_file import HOLDS, OPEN, ShareFile
from tests.fakes.budget_balances import MemoryBalances
from tests.unit.infra.budgets.conftest import Desk, covered


async def test_nothing_is_asked_of_the_database_without_need(desk: Desk) -> None:
    for _ in range(3):
        await desk.keeper.round()
    assert desk.balances.trades == 0


async def test_wanted_windows_are_borrowed_for_before_a_request_comes(desk: Desk) -> None:
    desk.wanted = (1, [covered()])
    await desk.keeper.round()
    desk.hold(10)


async def test_a_lease_is_renewed_while_it_is_used(desk: Desk) -> None:
    desk.shortage(1)
    await desk.keeper.round()
    for _ in range(10):
        desk.later(30)
        await desk.keeper.round()
        desk.hold(1).settle(0)
    assert desk.balances.trades < 30


async def test_what_is_idle_goes_back(desk: Desk) -> None:
    desk.shortage(1)
    await desk.keeper.round()
    desk.hold(5).settle(4)
    assert desk.own() > 0
    desk.later(61)
    desk.is_stored = False
    await desk.keeper.round()
    assert desk.own() > 0
    desk.is_stored = True
    await desk.keeper.round()
    assert desk.balances.holds == {}
    with desk.file.locked():
        assert desk.file.slots() == []
    # And the next use begins at nothing.
    assert desk.shortage(5).reason == "short"
    await desk.keeper.round()
    assert desk.on_hand == desk.own() == 10


async def test_a_window_that_is_over_goes_back_once_its_requests_ended(desk: Desk) -> None:
    end = desk.unix_us + 5_000_000
    window = covered(end=end)
    desk.shortage(1, window)
    await desk.keeper.round()
    hold = desk.hold(5, window)
    desk.later(10)
    await desk.keeper.round()
    assert desk.own() > 0
    hold.settle(5)
    desk.later(2)
    await desk.keeper.round()
    assert desk.balances.holds == {}


async def test_what_was_lost_is_set_right_when_it_is_quiet(desk: Desk) -> None:
    """A record that was lost leaves its cost in the hold, until all others are stored."""
    desk.shortage(1)
    await desk.keeper.round()
    desk.hold(5).settle(4)
    assert desk.own() == desk.on_hand + 4
    desk.later(2)
    await desk.keeper.round()
    assert desk.own() == desk.on_hand


async def test_a_dead_workers_holds_come_back(desk: Desk, tmp_path: Path) -> None:
    desk.shortage(1)
    await desk.keeper.round()
    other = ShareFile(tmp_path, "db", 1)
    before = desk.on_hand
    with desk.file.locked():
        slot = desk.file.find(covered().window)
        assert slot is not None
        slot[HOLDS + other.worker] = 7
        slot[OPEN + other.worker] = 1
    other.close()
    await desk.keeper.round()
    assert desk.on_hand == before
    assert desk.file.sum(slot, OPEN) == 0


async def test_while_the_database_is_away_the_share_is_spent(desk: Desk) -> None:
    desk.shortage(1)
    await desk.keeper.round()
    desk.balances.is_away = True
    desk.later(40)
    assert await desk.keeper._one_round() > 0
    desk.hold(5).settle(5)
    desk.later(20)
    assert desk.shortage(5).reason == "unavailable"
    desk.balances.is_away = False
    await desk.keeper._one_round()
    assert not desk.shares.is_away
    desk.hold(5)


async def test_what_others_took_after_the_lease_is_not_spent_again(desk: Desk) -> None:
    desk.balances.spent = 900
    desk.shortage(60)
    task = asyncio.create_task(desk.shares.hold([covered()], 60, 5))
    await asyncio.sleep(0.01)
    await desk.keeper.round()
    hold = await task
    assert desk.own() == 60
    assert not isinstance(hold, Shortage)
    hold.release()
    open_hold = desk.hold(10)
    desk.later(100)
    desk.balances.others = 70
    await desk.keeper.round()
    assert (desk.on_hand, desk.own()) == (20, 30)
    open_hold.release()


async def test_the_last_worker_returns_everything(desk: Desk, tmp_path: Path) -> None:
    desk.wanted = (1, [covered()])
    desk.keeper.start()
    await asyncio.sleep(0.1)
    assert desk.own() > 0
    other = ShareFile(tmp_path, "db", 1)
    hold = desk.hold(3)
    hold.settle(2)
    await desk.keeper.close()
    # Another worker lives.
    assert desk.own() > 0
    other.close()


async def test_a_worker_alone_returns_everything(desk: Desk) -> None:
    desk.wanted = (1, [covered()])
    desk.keeper.start()
    await asyncio.sleep(0.1)
    assert desk.keeper.elected
    desk.hold(3).settle(2)
    await desk.keeper.close()
    assert desk.balances.holds == {}


async def test_what_is_not_stored_at_shutdown_stays_held(desk: Desk) -> None:
    desk.shortage(1)
    await desk.keeper.round()
    desk.hold(5).settle(4)
    desk.is_stored = False
    await desk.keeper.close()
    assert desk.own() == 4


async def test_one_worker_of_a_machine_is_elected(tmp_path: Path) -> None:
    balances = MemoryBalances(1000)
    desks = [Desk(tmp_path, balances) for _ in range(2)]
    for desk in desks:
        desk.keeper.start()
    await asyncio.sleep(0.15)
    assert [desk.keeper.elected for desk in desks] == [True, False]
    await desks[0].keeper.close()
    await asyncio.sleep(0.2)
    assert desks[1].keeper.elected
    await desks[1].keeper.close()
    for desk in desks:
        await desk.close()
