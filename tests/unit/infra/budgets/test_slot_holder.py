"""An amount is held in all slots or in none, and settled once: both ways do the same."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.flow.ports.limits import Reservation
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.budgets.request_hold import MOST
from llm_gateway.infra.budgets.share_file import (
    AMOUNT,
    BORROWED,
    HASH,
    HOLDS,
    LEASE_END,
    MAX_WORKERS,
    USED,
    USED_AT,
    WORKERS,
    ShareFile,
    Slot,
)
from llm_gateway.infra.budgets.slot_holder import Place
from tests.fakes.compiled_parts import WAYS, Way, locking, need_compiled
from tests.fakes.usage_records import record

NOW = 1000
TOTAL = 1_000_000
LEAST = 100


class Bench:
    """Slots of one worker, and what it is told of."""

    def __init__(self, way: Way, folder: Path, number: int = 1) -> None:
        with locking(way):
            self.file = ShareFile(folder, "db", 1)
        self.told: list[str] = []
        self.now = NOW
        with self.file.locked():
            self.slots = [self._slot(one) for one in range(1, number + 1)]
        places = [Place(slot, slot[HASH], TOTAL, LEAST) for slot in self.slots]
        self.hold = slot_holder.make_holder(self.file, places, self.clock, self.settled, self.stated)

    def _slot(self, number: int) -> Slot:
        slot = self.file.claim(BudgetWindow(number, "", 1), None)
        assert slot is not None
        slot[BORROWED] = slot[AMOUNT] = TOTAL
        slot[LEASE_END] = NOW + 1
        return slot

    def clock(self) -> int:
        return self.now

    def settled(self, one: Any) -> None:
        self.told.append(one.request_id)

    def stated(self, one: Any) -> None:
        self.told.append(f"{one.request_id} stated")

    def held(self, amount: int) -> Reservation:
        found = self.hold(amount)
        assert found is not None
        return found

    def cells(self) -> list[list[int]]:
        return [slot.tolist() for slot in self.slots]

    def sums(self, worker: int = 0) -> list[tuple[int, int]]:
        return [(slot[HOLDS + worker], slot[USED + worker]) for slot in self.slots]

    def close(self) -> None:
        self.file.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    one: Way = request.param
    if one == "compiled":
        need_compiled()
    return one


@pytest.fixture
def bench(way: Way, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(way, tmp_path)
    yield made
    made.close()


@pytest.fixture
def two(way: Way, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(way, tmp_path, 2)
    yield made
    made.close()


def test_the_way_is_that_of_the_lock(way: Way, bench: Bench) -> None:
    assert (type(bench.held(1)).__name__ == "Held") == (way == "compiled")


def test_an_amount_is_held_where_enough_is_left(bench: Bench) -> None:
    slot = bench.slots[0]
    # Of one worker, and of two: the second one has a part of it.
    for workers, taken in ((1, 0), (2, 30 + 40)):
        bench.file.head[WORKERS] = workers
        slot[HOLDS + 1], slot[USED + 1] = 30, 40
        most = TOTAL - taken - LEAST
        assert bench.hold(most + 1) is None
        assert (slot[HOLDS], slot[USED_AT]) == (0, 0)
        held = bench.held(most)
        assert (slot[HOLDS], slot[USED_AT]) == (most, NOW)
        assert bench.hold(1) is None
        held.release()
        assert slot[HOLDS] == slot[USED] == slot[USED_AT] - NOW == 0
        slot[USED_AT] = 0
    assert bench.file.try_lock()
    bench.file.unlock()


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("cell", [HASH, AMOUNT, LEASE_END, BORROWED])
def test_all_slots_or_none_hold_it(two: Bench, number: int, cell: int) -> None:
    """Another window, another amount of the budget, the end of the lease, too little on hand: in one of the slots."""
    two.held(5).release()
    slot = two.slots[number]
    for changed in (slot[cell] - 1, 0) if cell != BORROWED else (LEAST + 9, 0):
        kept, slot[cell] = slot[cell], changed
        before = two.cells()
        assert two.hold(10) is None
        assert two.cells() == before
        slot[cell] = kept
        two.held(10).release()
    assert two.sums() == [(0, 0), (0, 0)]


@pytest.mark.parametrize("amount", [0, -1, -(2**70), 2**62, 2**63, 2**70])
def test_an_amount_that_is_none_or_absurd_is_for_the_rule(bench: Bench, amount: int) -> None:
    before = bench.cells()
    assert bench.hold(amount) is None
    assert bench.cells() == before


def test_nothing_is_held_without_the_lock(way: Way, bench: Bench, tmp_path: Path) -> None:
    with locking(way):
        other = ShareFile(tmp_path, "db", 1)
    for holder in (bench.file, other):
        assert holder.try_lock()
        assert bench.hold(10) is None
        holder.unlock()
    # Who dies within the lock holds nobody up for good.
    assert other.try_lock()
    other.close()
    bench.held(10).release()


def test_a_file_that_was_closed_takes_nothing_more_and_settles_what_is_open(way: Way, tmp_path: Path) -> None:
    bench = Bench(way, tmp_path)
    held = bench.held(10)
    bench.close()
    if way == "compiled":
        assert bench.hold(10) is None
    else:
        with pytest.raises(ValueError, match="negative"):
            bench.hold(10)
    held.settle(record("r", cost_nano_usd=7))
    assert bench.sums() == [(0, 7)]


@pytest.mark.parametrize("cost", [None, 0, 1, 2**30 - 1, 2**30, 2**40])
@pytest.mark.parametrize("source", [None, "catalog", "override", "provider"])
def test_a_hold_is_replaced_by_the_cost(two: Bench, cost: int | None, source: Any) -> None:
    other, one = two.held(3), two.held(10)
    one.settle(record("r", cost_nano_usd=cost, cost_source=source))
    assert two.sums() == [(3, cost or 0)] * 2
    assert two.told == (["r", "r stated"] if source == "provider" else ["r"])
    # Once, whatever is called then.
    one.settle(record("again", cost_nano_usd=5, cost_source="provider"))
    one.release()
    assert two.sums() == [(3, cost or 0)] * 2
    assert two.told[-1].startswith("r")
    other.release()
    other.release()
    other.settle(record("late", cost_nano_usd=5))
    assert two.sums() == [(0, cost or 0)] * 2
    assert "late" not in two.told


def test_sums_stay_within_64_bits(bench: Bench) -> None:
    for cost in (2**62, 2**70, 2**60, 9):
        slot = bench.slots[0]
        slot[BORROWED] = 2**62 if cost == 9 else 2**62 - 1
        held = bench.hold(1)
        assert held is not None
        held.settle(record("r", cost_nano_usd=cost))
        assert MOST <= slot[USED] <= MOST + 9


def test_the_cells_are_the_workers_own(way: Way, tmp_path: Path) -> None:
    first, second = Bench(way, tmp_path), Bench(way, tmp_path)
    held = first.held(10), second.held(20)
    assert (first.sums(), first.sums(1)) == ([(10, 0)], [(20, 0)])
    held[1].settle(record("r", cost_nano_usd=4))
    assert (first.sums(), first.sums(1)) == ([(10, 0)], [(0, 4)])
    # It dies, and what it held is given back; what it has spent stays.
    first.close()
    assert second.file.dead_workers() == [0]
    with second.file.locked():
        second.file.clear_workers([0])
    assert (second.sums(), second.sums(1)) == ([(0, 0)], [(0, 4)])
    assert second.file.on_hand(second.slots[0]) == TOTAL - 4
    second.close()


def test_what_is_told_may_fail_and_the_hold_has_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise LookupError

    place = Place(bench.slots[0], bench.slots[0][HASH], TOTAL, LEAST)
    for listeners in ((fail, bench.stated), (bench.settled, fail)):
        hold = slot_holder.make_holder(bench.file, [place], bench.clock, *listeners)
        held = hold(10)
        assert held is not None
        with pytest.raises(LookupError):
            held.settle(record("r", cost_nano_usd=5, cost_source="provider"))
        held.release()
    assert bench.sums() == [(0, 10)]


def test_what_is_no_record_changes_nothing(bench: Bench) -> None:
    held: Any = bench.held(10)
    with pytest.raises(AttributeError):
        held.settle(None)
    assert bench.sums() == [(10, 0)]
    held.release()
    assert bench.sums() == [(0, 0)]


def test_a_clock_may_fail(bench: Bench) -> None:
    bench.now = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        bench.hold(10)
    bench.now = NOW
    bench.held(10).release()


def test_the_usual_clock_is_that_of_python(way: Way, bench: Bench) -> None:
    slot = bench.slots[0]
    place = Place(slot, slot[HASH], TOTAL, LEAST)
    hold = slot_holder.make_holder(bench.file, [place], time.monotonic_ns, bench.settled, bench.stated)
    slot[LEASE_END] = time.monotonic_ns()
    assert hold(10) is None
    slot[LEASE_END] = time.monotonic_ns() + 10**12
    before = time.monotonic_ns()
    assert hold(10) is not None
    assert before <= slot[USED_AT] <= time.monotonic_ns()


class _Finished:
    """Settles a hold when the garbage collector frees it, as a request does that nobody waits for any more."""

    def __init__(self, held: Reservation) -> None:
        self.held = held
        self.itself = self

    def __del__(self) -> None:
        self.held.settle(record("garbage", cost_nano_usd=7000))


@pytest.mark.parametrize("act", ["hold", "settle"])
def test_a_garbage_collection_in_between_loses_nothing(bench: Bench, act: str) -> None:
    thresholds, slot = gc.get_threshold(), bench.slots[0]
    slot[BORROWED] = slot[AMOUNT] = 10**12
    place = Place(slot, slot[HASH], 10**12, LEAST)
    hold: Callable[[int], Any] = slot_holder.make_holder(
        bench.file, [place], bench.clock, bench.settled, bench.stated
    )
    ended = record("r", cost_nano_usd=5)
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        for trial in range(300):
            _Finished(hold(100))
            held = hold(50)
            before = slot[USED]
            # So many objects that a collection is due at another allocation each time.
            due = [[] for _ in range(100 + trial % 150)]  # type: ignore[var-annotated]
            gc.set_threshold(100, 1000, 1000)
            gc.enable()
            if act == "settle":
                held.settle(ended)
            else:
                held.release()
                held = hold(50)
            gc.disable()
            del due
            gc.collect()
            held.release()
            assert slot[USED] - before == 7000 + 5 * (act == "settle")
            assert slot[HOLDS] == 0
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
        gc.unfreeze()


def test_a_holder_in_a_circle_is_collected_after_its_holds(way: Way, tmp_path: Path) -> None:
    """As a limit is, which refers to the windows that it has prepared, and they to what it learns."""
    kind = "" if way == "compiled" else "import sys\nsys.modules['llm_gateway.infra._shared_lock'] = None\n"
    program = f"""{kind}
import gc, time
from pathlib import Path
from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.budgets.share_file import *
from llm_gateway.infra.budgets.slot_holder import Place

class Limit:
    def __init__(self, views):
        self.views, self.itself = views, self
        slot = views[-1]
        places = [Place(slot, slot[HASH], 1000, 1)]
        self.hold = slot_holder.make_holder(file, places, time.monotonic_ns, self.learn, self.learn)
    def learn(self, record):
        pass

file = ShareFile(Path({str(tmp_path)!r}), "db", 1)
with file.locked():
    slot = file.claim(BudgetWindow(1, "", 1), None)
slot[BORROWED] = slot[AMOUNT] = 1000
slot[LEASE_END] = time.monotonic_ns() + 10**12
for _ in range(5):
    # Views that only the circle has, older than the rest of it.
    limit = Limit([slot[:]])
    del limit
    gc.collect()
    limit = Limit([slot[:]])
    held = limit.hold(10)
    del limit
    gc.collect()
    held.release()
    del held
    gc.collect()
assert slot[HOLDS] == 0
# The lock and the view of its cells in one circle, too.
circle = [file]
circle.append(circle)
del file, slot, circle
gc.collect()
print("all is well")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "all is well", "")


CELLS = (HASH, AMOUNT, LEASE_END, BORROWED, USED_AT, HOLDS, USED, 0)


@pytest.mark.parametrize(
    "layout",
    [
        (-1, *CELLS[1:]),
        (HASH, 1024, *CELLS[2:]),
        (*CELLS[:4], 2**62, *CELLS[5:]),
        (*CELLS[:5], USED, HOLDS, 0),
        (*CELLS[:5], HOLDS, HOLDS, 0),
        (*CELLS[:5], -2, USED, 0),
        (*CELLS[:5], HOLDS, 1000, 0),
        (*CELLS[:7], MAX_WORKERS),
        (*CELLS[:7], -1),
    ],
)
def test_cells_outside_of_a_row_are_refused(tmp_path: Path, layout: Any) -> None:
    need_compiled()
    from llm_gateway.infra.budgets import _slot_holder

    bench = Bench("compiled", tmp_path)
    row = (bench.slots[0], 1, TOTAL, LEAST)
    lock: Any = bench.file.lock
    rest = (bench.clock, bench.settled, bench.stated)
    with pytest.raises(ValueError, match="no cells of the row"):
        _slot_holder.holder(lock, bench.file.head, WORKERS, layout, (row,), *rest)
    for count_at in (-1, 10**9):
        with pytest.raises(ValueError, match="no cells of the row"):
            _slot_holder.holder(lock, bench.file.head, count_at, CELLS, (row,), *rest)
    with pytest.raises(ValueError, match="no rows"):
        _slot_holder.holder(lock, bench.file.head, WORKERS, CELLS, (), *rest)
    with pytest.raises(TypeError):
        _slot_holder.holder("lock", bench.file.head, WORKERS, CELLS, (row,), *rest)  # type: ignore[arg-type]
    bench.close()


@pytest.mark.parametrize("count", [-1, 0, MAX_WORKERS + 1, 2**62])
def test_nothing_is_held_with_an_odd_number_of_workers(tmp_path: Path, count: int) -> None:
    need_compiled()
    bench = Bench("compiled", tmp_path)
    kept, bench.file.head[WORKERS] = bench.file.head[WORKERS], count
    assert bench.hold(10) is None
    bench.file.head[WORKERS] = kept
    bench.held(10).release()
    bench.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "settle", "release", "settle", "lend", "time"]),
        st.integers(-5, 300) | st.sampled_from([2**31, 2**62]),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1, 3), st.integers(1, 2))
@example([("hold", 10, 0), ("settle", 2**62, 0), ("hold", 1, 0)], 1, 1)
def test_both_ways_do_the_same(steps: list[Any], number: int, workers: int) -> None:
    need_compiled()
    with tempfile.TemporaryDirectory() as folder:
        both = [Bench(one, Path(folder) / one, number) for one in WAYS]
        open_holds: list[list[Reservation]] = [[], []]
        for bench in both:
            bench.file.head[WORKERS] = workers
            for slot in bench.slots:
                slot[BORROWED] = 500
        for act, amount, at in steps:
            for bench, holds in zip(both, open_holds, strict=True):
                if act == "hold":
                    held = bench.hold(amount)
                    if held is not None:
                        holds.append(held)
                elif act == "lend":
                    slot = bench.slots[at % number]
                    slot[BORROWED] = slot[BORROWED] + amount if amount < 1000 else 500
                elif act == "time":
                    bench.now = NOW + amount % 2
                elif holds:
                    held = holds.pop(at % len(holds))
                    if act == "settle":
                        cost = amount or None
                        source: Any = "provider" if at else None
                        held.settle(record(f"r{at}", cost_nano_usd=cost, cost_source=source))
                    else:
                        held.release()
            assert len(open_holds[0]) == len(open_holds[1])
            assert both[0].cells() == both[1].cells()
            assert both[0].told == both[1].told
        for bench in both:
            bench.close()
