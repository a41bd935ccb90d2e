"""What was found of a window's slot is not used once the slot is another's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.flow.ports.budgets import Shortage
from llm_gateway.infra.budgets import share_file, slot_holder
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.prepared import PreparedWindows
from llm_gateway.infra.budgets.share_file import AMOUNT, BORROWED, HOLDS, LEASE_END, USED, ShareFile
from llm_gateway.infra.budgets.shares import SharedBudgets
from tests.fakes.compiled_parts import WAYS, Way, locking
from tests.fakes.prepared_holds import hold, unheard
from tests.fakes.usage_records import record

TOTAL = 1_000_000


def window(number: int) -> Covered:
    budget = Budget(id=number, name="b", scope="all", amount_nano_usd=TOTAL, period="total", counts_from=1)
    return Covered(budget, BudgetWindow(number, "", 1), None)


def fill(file: ShareFile, covered: Covered) -> share_file.Slot:
    with file.locked():
        slot = file.claim(covered.window, None)
    assert slot is not None
    slot[BORROWED] = slot[AMOUNT] = TOTAL
    slot[LEASE_END] = time.monotonic_ns() + 3600 * 10**9
    return slot


@pytest.mark.parametrize("way", WAYS)
def test_a_slot_that_was_lost_and_comes_back_is_found_again(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_file, "MAX_SLOTS", 1)
    with locking(way):
        file = ShareFile(tmp_path, "db", 1)
    bell = Bell(file.folder / "bell")
    shares = SharedBudgets(file, bell)
    one, other = window(1), window(2)
    windows = PreparedWindows(file, time.monotonic_ns, [one], shares._hold_locked, unheard, unheard)
    slot = fill(file, one)
    for _ in range(2):
        held = hold(windows, 10)
        assert not isinstance(held, Shortage | None)
        held.release()
    # The only slot is another window's; then it is the first one's again.
    with file.locked():
        file.free(slot)
    slot = fill(file, other)
    assert windows.try_hold(10) is None
    answer = hold(windows, 10)
    assert isinstance(answer, Shortage)
    assert answer.reason == "unavailable"
    with file.locked():
        file.free(slot)
    slot = fill(file, one)
    for number in (1, 2):
        held = hold(windows, 10)
        assert not isinstance(held, Shortage | None)
        assert slot[HOLDS] == 10
        held.settle(record("r", cost_nano_usd=7))
        assert (slot[HOLDS], slot[USED]) == (0, 7 * number)
    assert windows.try_hold(10) is not None
    shares.close()
    bell.close()
    file.close()


@pytest.mark.parametrize("way", WAYS)
def test_what_was_found_is_kept_as_long_as_it_is_right(way: Way, tmp_path: Path) -> None:
    with locking(way):
        file = ShareFile(tmp_path, "db", 1)
    bell = Bell(file.folder / "bell")
    shares = SharedBudgets(file, bell)
    windows = shares.prepare([window(1)], unheard, unheard)
    slot = fill(file, window(1))
    # Nothing was found yet.
    assert windows.try_hold(10) is None
    assert hold(windows, 10) is not None
    found = windows.try_hold
    # What is unusual about these has nothing to do with the place.
    for amount in (0, TOTAL, 10**30, -1):
        assert windows.try_hold(amount) is None
    for amount in (0, TOTAL):
        windows.hold(amount)
        assert windows.try_hold is found
    assert windows.try_hold(10) is not None
    assert slot[HOLDS] == 20
    # The budget has another amount from now on, and the lease ends.
    for cell, value in ((AMOUNT, TOTAL - 1), (LEASE_END, time.monotonic_ns())):
        before, slot[cell] = slot[cell], value
        assert windows.try_hold(10) is None
        slot[cell] = before
        assert windows.try_hold(10) is not None
    shares.close()
    bell.close()
    file.close()


def test_what_is_held_is_given_back_if_its_place_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ShareFile(tmp_path, "db", 1)
    bell = Bell(file.folder / "bell")
    shares = SharedBudgets(file, bell)
    windows = shares.prepare([window(1)], unheard, unheard)
    slot = fill(file, window(1))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(slot_holder, "make_holder", fail)
        with pytest.raises(MemoryError):
            windows.hold(10)
    assert slot[HOLDS] == 0
    # The next one finds the place.
    assert windows.hold(10) is not None
    assert windows.try_hold(10) is not None
    assert slot[HOLDS] == 20
    shares.close()
    bell.close()
    file.close()
