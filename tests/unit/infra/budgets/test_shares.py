"""What requests hold of a share, and how they wait for more."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from llm_gateway.flow.ports.budgets import Shortage
from llm_gateway.infra.budgets.share_file import BORROWED, USED, WAITING
from tests.unit.infra.budgets.conftest import Desk, covered


async def borrowed(desk: Desk, amount: int = 100) -> None:
    """Let the machine have `amount` on hand."""
    desk.shortage(1)
    await desk.keeper.round()
    with desk.file.locked():
        slot = desk.file.find(covered().window)
        assert slot is not None
        slot[BORROWED] = amount


async def test_the_first_request_is_short_and_the_next_is_served(desk: Desk) -> None:
    assert desk.shortage(5).reason == "short"
    await desk.keeper.round()
    desk.hold(5)


async def test_holds_end_with_the_cost_or_with_nothing(desk: Desk) -> None:
    await borrowed(desk)
    first, second = desk.hold(60), desk.hold(40)
    assert desk.on_hand == 0
    first.settle(70)
    assert desk.on_hand == -10
    second.release()
    assert desk.on_hand == 30
    # Once only.
    first.settle(70)
    second.release()
    assert desk.on_hand == 30


async def test_all_budgets_hold_or_none(desk: Desk) -> None:
    await borrowed(desk)
    other = covered(2)
    assert desk.shortage(5, covered(), other).covered == other
    assert desk.on_hand == 100
    await desk.keeper.round()
    desk.hold(5, covered(), other)
    assert desk.on_hand <= 95


async def test_a_used_up_budget_refuses_at_once(desk: Desk) -> None:
    desk.balances.spent, desk.balances.others = 700, 295
    desk.shortage(6)
    await desk.keeper.round()
    shortage = desk.shortage(6)
    assert (shortage.reason, shortage.spent, shortage.held) == ("spent", 700, 295)
    # What was read long ago is not believed.
    desk.later(1)
    assert desk.shortage(6).reason == "short"


async def test_a_changed_amount_is_in_force_at_once(desk: Desk) -> None:
    await borrowed(desk)
    changed = covered()._replace(budget=msgspec.structs.replace(covered().budget, amount_nano_usd=20))
    desk.balances.amount, desk.balances.spent = 20, 15
    desk.later(0.1)
    assert desk.shortage(6, changed).reason == "short", "what was borrowed of the old amount is not spent"
    waiting = asyncio.create_task(desk.shares.hold([changed], 6, 5.0))
    await asyncio.sleep(0.01)
    desk.later(0.01)
    await desk.keeper.round()
    answer = await waiting
    assert isinstance(answer, Shortage)
    assert (answer.reason, answer.spent) == ("spent", 15)
    # Raised again, a moment after that was read.
    desk.balances.amount = 1000
    desk.later(0.01)
    assert desk.shortage(6).reason == "short"
    waiting = asyncio.create_task(desk.shares.hold([covered()], 6, 5.0))
    await asyncio.sleep(0.01)
    desk.later(0.01)
    await desk.keeper.round()
    assert not isinstance(await waiting, Shortage)


async def test_a_worker_that_does_not_know_a_new_amount_yet_goes_on_with_it(desk: Desk) -> None:
    desk.balances.amount = 2000
    waiting = asyncio.create_task(desk.shares.hold([covered()], 6, 5.0))
    await asyncio.sleep(0.01)
    await desk.keeper.round()
    assert not isinstance(await waiting, Shortage)


async def test_a_changed_amount_waits_for_the_database_while_that_is_away(desk: Desk) -> None:
    await borrowed(desk)
    desk.balances.amount = 2000
    desk.balances.is_away = True
    desk.later(30)
    await desk.keeper._one_round()
    desk.hold(5, covered()._replace(budget=msgspec.structs.replace(covered().budget, amount_nano_usd=2000)))


async def test_nothing_is_held_after_the_lease(desk: Desk) -> None:
    await borrowed(desk)
    desk.later(55)
    assert desk.shortage(5).reason == "short"
    desk.balances.is_away = True
    await desk.keeper._one_round()
    assert desk.shortage(5).reason == "unavailable"
    assert desk.shares.is_away


async def test_a_request_without_a_price_holds_nothing(desk: Desk) -> None:
    desk.balances.is_away = True
    desk.hold(0).release()


async def test_a_request_that_is_admitted_blindly_counts_later(desk: Desk) -> None:
    hold = desk.shares.hold_nothing([covered()])
    hold.settle(7)
    assert desk.on_hand == -7
    await desk.keeper.round()
    assert desk.on_hand == 10
    assert desk.own() == 17


async def test_those_in_line_are_served_in_order_after_a_round(desk: Desk) -> None:
    desk.balances.spent = 970
    waiting = [asyncio.create_task(desk.shares.hold([covered()], 10, 5.0)) for _ in range(5)]
    for _ in range(4):
        await asyncio.sleep(0.01)
        await desk.keeper.round()
    answers = await asyncio.gather(*waiting)
    assert [isinstance(answer, Shortage) for answer in answers] == [False, False, False, True, True]
    assert {answer.reason for answer in answers if isinstance(answer, Shortage)} == {"spent"}


async def test_waiting_has_an_end(desk: Desk) -> None:
    answer = await desk.shares.hold([covered()], 10, 0.05)
    assert isinstance(answer, Shortage)
    assert answer.reason == "unavailable"
    await asyncio.sleep(0.01)
    with desk.file.locked():
        slot = desk.file.find(covered().window)
        assert slot is not None
        assert (desk.file.sum(slot, WAITING), desk.file.is_open(slot)) == (0, False)


async def test_a_request_that_leaves_the_line_holds_nothing(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.shares.hold([covered()], 10, 5.0))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await desk.keeper.round()
    await asyncio.sleep(0.02)
    with desk.file.locked():
        slot = desk.file.find(covered().window)
        assert slot is not None
        assert (desk.file.is_open(slot), desk.file.sum(slot, USED)) == (False, 0)


async def test_one_that_is_cancelled_when_it_was_served_gives_back(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.shares.hold([covered()], 10, 5.0))
    await asyncio.sleep(0)
    await desk.keeper.round()
    with desk.file.locked():
        slot = desk.file.claim(covered().window, None)
        assert slot is not None
    for _ in range(1000):
        # Until it was served, and does not know yet.
        if desk.file.is_open(slot):
            break
        await asyncio.sleep(0)
        await desk.keeper.round()
    waiting.cancel()
    await asyncio.wait({waiting})
    if not waiting.cancelled():
        answer = waiting.result()
        assert not isinstance(answer, Shortage)
        answer.release()
    assert not desk.file.is_open(slot)


async def test_the_used_part_is_shown(desk: Desk) -> None:
    desk.balances.spent = 300
    desk.shortage(6)
    await desk.keeper.round()
    assert desk.shares.used_ratios(10) == {1: (300 + desk.own()) / 1000}
    assert desk.shares.used_ratios(0) == {}


async def test_absurd_amounts_and_costs_do_no_harm(desk: Desk) -> None:
    await borrowed(desk)
    assert desk.shortage(2**60).reason == "spent"
    hold = desk.hold(1)
    hold.settle(2**62)
    assert desk.on_hand == 100 - 2**60
