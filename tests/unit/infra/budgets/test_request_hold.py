"""A hold is replaced by the cost, once, whichever object stands for it."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from llm_gateway.infra.budgets.request_hold import (
    MOST,
    OWN_HOLDS,
    OWN_OPEN,
    OWN_USED,
    RequestHold,
    SlotReservation,
    begin_hold,
    own_cells,
)
from tests.fakes.usage_records import record


class Cells(list[int]):
    """A worker's own cells in a slot, which note in what order they are written."""

    def __init__(self, *before: int) -> None:
        super().__init__([0, 0, 0])
        self.written: list[int] = []
        for amount in before:
            begin_hold(self, amount)  # type: ignore[arg-type]
        self.written.clear()

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(place, value)
        self.written.append(place)


def reservation(cells: Any, amount: int, told: list[str]) -> SlotReservation:
    return SlotReservation(
        [cells], amount, lambda one: told.append(one.request_id), lambda _: told.append("stated")
    )


@pytest.mark.parametrize("cost", [1, 999, 2**30 - 1, 2**30, 2**40])
def test_the_cost_comes_before_the_release(cost: int) -> None:
    for is_reservation in (False, True):
        cells: Any = Cells(5, 100)
        if is_reservation:
            reservation(cells, 100, []).settle(record("r", cost_nano_usd=cost))
        else:
            RequestHold([cells], 100).settle(cost)
        assert (cells[OWN_USED], cells[OWN_HOLDS], cells[OWN_OPEN]) == (cost, 5, 0)
        assert cells.written == [OWN_USED, OWN_HOLDS]


@pytest.mark.parametrize("cost", [None, 0])
def test_what_cost_nothing_or_nobody_knows_gives_the_hold_back(cost: int | None) -> None:
    cells: Any = Cells(100)
    reservation(cells, 100, []).settle(record("r", cost_nano_usd=cost))
    assert list(cells) == [0, 0, 0]
    assert cells.written == [OWN_HOLDS]


def test_a_request_that_holds_nothing_is_open_nevertheless() -> None:
    cells: Any = Cells(0, 7)
    assert (cells[OWN_HOLDS], cells[OWN_OPEN]) == (7, 1)
    RequestHold([cells], 0).settle(3)
    assert (cells[OWN_USED], cells[OWN_HOLDS], cells[OWN_OPEN]) == (3, 7, 0)


def test_sums_stay_within_64_bits() -> None:
    cells: Any = Cells(1, 1, 1)
    reservation(cells, 1, []).settle(record("r", cost_nano_usd=2**62))
    RequestHold([cells], 1).settle(2**62)
    reservation(cells, 1, []).settle(record("r", cost_nano_usd=9))
    assert MOST <= cells[OWN_USED] <= MOST + 9


def test_a_second_end_changes_nothing() -> None:
    cells: Any = Cells(100, 100)
    told: list[str] = []
    one, two = reservation(cells, 100, told), RequestHold([cells], 100)
    one.settle(record("r", cost_nano_usd=9, cost_source="provider"))
    one.release()
    two.release()
    two.settle(9)
    assert (cells[OWN_USED], cells[OWN_HOLDS]) == (9, 0)
    assert told == ["r", "stated"]


class _Finished:
    """Settles a hold when the garbage collector frees it, as a request does that nobody waits for any more."""

    def __init__(self, hold: RequestHold) -> None:
        self.hold = hold
        self.itself = self

    def __del__(self) -> None:
        self.hold.settle(7000)


@pytest.mark.parametrize("cost", [5, 2**31])
def test_a_garbage_collection_in_between_loses_no_cost(cost: int) -> None:
    own: Any = own_cells(memoryview(bytearray(8 * 1024)).cast("q"), 0)
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    # All that there is already need not be looked through each time.
    gc.freeze()
    try:
        for trial in range(450):
            for _ in range(2):
                begin_hold(own, 100)
            hold = RequestHold([own], 100)
            _Finished(RequestHold([own], 100))
            before = own[OWN_USED]
            # So many objects that a collection is due at another allocation each time.
            due = [[] for _ in range(100 + trial % 150)]  # type: ignore[var-annotated]
            gc.set_threshold(100, 1000, 1000)
            gc.enable()
            hold.settle(cost)
            gc.disable()
            del due
            gc.collect()
            assert own[OWN_USED] - before == cost + 7000
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
        gc.unfreeze()
    assert (own[OWN_HOLDS], own[OWN_OPEN]) == (0, 0)
