"""What was found of a window's slot is not used once the slot is another's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.flow.ports.budgets import Shortage
from llm_gateway.infra.budgets import share_file
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.prepared import PreparedWindows
from llm_gateway.infra.budgets.request_hold import SlotReservation
from llm_gateway.infra.budgets.share_file import AMOUNT, BORROWED, HOLDS, LEASE_END, USED, ShareFile
from llm_gateway.infra.budgets.shares import SharedBudgets
from tests.fakes.compiled_parts import WAYS, Way, locking
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
    reserve = PreparedWindows(file, time.monotonic_ns, [one], shares._hold_locked).reserver()
    slot = fill(file, one)
    for _ in range(2):
        held = reserve(10)
        assert isinstance(held, SlotReservation)
        held.release()
    # The only slot is another window's; then it is the first one's again.
    with file.locked():
        file.free(slot)
    slot = fill(file, other)
    answer = reserve(10)
    assert isinstance(answer, Shortage)
    assert answer.reason == "unavailable"
    with file.locked():
        file.free(slot)
    slot = fill(file, one)
    held = reserve(10)
    assert isinstance(held, SlotReservation)
    assert slot[HOLDS] == 10
    held.settle(record("r", cost_nano_usd=7))
    assert (slot[HOLDS], slot[USED]) == (0, 7)
    shares.close()
    bell.close()
    file.close()
