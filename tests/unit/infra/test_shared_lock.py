"""The lock of a mapped file: both of its ways do the same."""

from __future__ import annotations

import fcntl
import gc
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra import shared_lock
from llm_gateway.infra.owners import Owners
from llm_gateway.infra.shared_lock import SharedLock, wait_for_lock
from llm_gateway.infra.shared_memory import map_cells
from tests.fakes.compiled_parts import WAYS, Way, locking, need_compiled

AT = 3


class Holder:
    """Somebody who has the file open, as a process has."""

    def __init__(self, folder: Path) -> None:
        self.owners = Owners(folder)
        self.descriptor = os.open(folder / "cells", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.descriptor, 64)
        self.cells = map_cells(self.descriptor, 0, 64)
        self.lock: SharedLock = shared_lock.make_shared_lock(self.descriptor, self.cells, AT, self.owners)

    def die(self) -> None:
        """Leave all as the kernel does for a process that is killed."""
        self.owners.close()
        # Which the map keeps open, too.
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)

    def close(self) -> None:
        self.lock.close()
        self.cells.release()
        self.die()


@pytest.fixture(params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


@pytest.fixture
def join(tmp_path: Path, lock_way: Way) -> Callable[[], Holder]:
    return partial(Holder, tmp_path)


def test_one_has_it(join: Callable[[], Holder]) -> None:
    first, second = join(), join()
    assert first.lock.try_lock()
    assert not second.lock.try_lock()
    # Not even to itself: what it was taken for is not done yet.
    assert not first.lock.try_lock()
    first.lock.unlock()
    wait_for_lock(second.lock)
    assert not first.lock.try_lock()
    second.close()
    assert first.lock.try_lock()
    first.close()


def test_it_is_let_go_by_its_holder_only(join: Callable[[], Holder]) -> None:
    first, second = join(), join()
    for holder in (first, second):
        with pytest.raises(RuntimeError, match="the lock is not held"):
            holder.lock.unlock()
    assert first.lock.try_lock()
    with pytest.raises(RuntimeError, match="the lock is not held"):
        second.lock.unlock()
    # Neither does the end of another.
    second.close()
    third = join()
    assert not third.lock.try_lock()
    first.close()
    third.close()


def test_a_closed_one_is_an_error(join: Callable[[], Holder]) -> None:
    holder = join()
    assert holder.lock.try_lock()
    holder.close()
    holder.lock.close()
    with pytest.raises(ValueError, match=r"closed|negative"):
        holder.lock.try_lock()
    with pytest.raises(RuntimeError, match="the lock is not held"):
        holder.lock.unlock()


def test_the_lock_of_a_dead_holder_is_free(join: Callable[[], Holder]) -> None:
    first, second = join(), join()
    assert first.lock.try_lock()
    first.die()
    assert second.lock.try_lock()
    second.lock.unlock()
    second.close()


def test_a_new_holder_with_the_number_of_a_dead_one_may_have_it(join: Callable[[], Holder]) -> None:
    first, second = join(), join()
    assert first.lock.try_lock()
    first.die()
    third = join()
    assert third.owners.number == 0
    assert second.lock.try_lock()
    assert not third.lock.try_lock()
    second.lock.unlock()
    assert third.lock.try_lock()
    for holder in (second, third):
        holder.close()


# What one of three holders does: take the lock, let it go, die and come back, or close and come back.
_STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["take", "let go", "die", "close"])), max_size=30
)


@given(_STEPS)
@pytest.mark.parametrize("way", WAYS)
def test_both_ways_do_what_a_lock_does(way: Way, steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, locking(way):
        holders = [Holder(Path(folder)) for _ in range(3)]
        held_by: int | None = None
        for number, step in steps:
            holder = holders[number]
            if step == "take":
                assert holder.lock.try_lock() == (held_by is None)
                held_by = number if held_by is None else held_by
            elif step == "let go" and held_by == number:
                holder.lock.unlock()
                held_by = None
            elif step == "let go":
                with pytest.raises(RuntimeError):
                    holder.lock.unlock()
            else:
                holder.die() if step == "die" else holder.close()
                holders[number] = Holder(Path(folder))
                held_by = None if held_by == number else held_by
        for holder in holders:
            holder.close()


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Callable[[], Holder]]:
    need_compiled()
    with locking("compiled"):
        yield partial(Holder, tmp_path)


@pytest.mark.parametrize("left", [-(2**63), -1, 200, 2**63 - 1])
def test_whatever_the_cell_holds_that_no_live_one_wrote_is_taken_over(
    cell: Callable[[], Holder], left: int
) -> None:
    holder = cell()
    holder.cells[AT] = left
    assert holder.lock.try_lock()
    assert holder.cells[AT] == 1
    holder.lock.unlock()
    assert holder.cells.tolist() == [0] * 8
    holder.close()


def test_a_lock_of_which_nobody_can_tell_is_not_taken(cell: Callable[[], Holder], tmp_path: Path) -> None:
    holder = cell()
    holder.cells[AT] = 8
    (tmp_path / "owner-7.lock").mkdir()
    assert not holder.lock.try_lock()
    (tmp_path / "owner-7.lock").rmdir()
    assert holder.lock.try_lock()
    holder.close()


def test_as_long_as_it_is_open_its_cells_stay(cell: Callable[[], Holder]) -> None:
    holder = cell()
    with pytest.raises(BufferError):
        holder.cells.release()
    holder.close()


def test_one_that_is_thrown_away_is_let_go(cell: Callable[[], Holder]) -> None:
    first, second = cell(), cell()
    gone = weakref.ref(first)
    assert first.lock.try_lock()
    owners, descriptor = first.owners, first.descriptor
    # In a circle, which the collector finds.
    first.__dict__["itself"] = first
    del first
    gc.collect()
    assert gone() is None
    assert second.lock.try_lock()
    second.close()
    owners.close()
    os.close(descriptor)


def test_what_takes_it_over_may_fail(cell: Callable[[], Holder]) -> None:
    from llm_gateway.infra._shared_lock import CellLock

    cells = memoryview(bytearray(64)).cast("q")
    asked: list[int] = []

    def recover(lock: CellLock, holder: int) -> bool:
        asked.append(holder)
        for wrong in (0, 5):
            with pytest.raises(ValueError, match="from another holder only"):
                lock.take_over(wrong)
        assert not lock.take_over(holder + 1)
        raise LookupError

    lock = CellLock(cells, 0, 5, recover)
    cells[0] = 9
    with pytest.raises(LookupError):
        lock.try_lock()
    assert (asked, cells[0]) == ([9], 9)
    assert lock.take_over(9)
    lock.close()
    assert cells[0] == 0
    with pytest.raises(ValueError, match="the lock is closed"):
        lock.take_over(9)


def test_what_is_no_cell_is_refused(cell: Callable[[], Holder]) -> None:
    from llm_gateway.infra._shared_lock import CellLock

    def recover(*_: object) -> bool:
        return False

    cells = memoryview(bytearray(72))
    whole = cells[:64].cast("q")
    CellLock(whole, 7, 1, recover)
    for at in (-1, 8, 2**60):
        with pytest.raises(ValueError, match="no cell"):
            CellLock(whole, at, 1, recover)
    for name in (0, -1):
        with pytest.raises(ValueError, match="above zero"):
            CellLock(whole, 0, name, recover)
    for other in (cells, cells[4:68].cast("q"), memoryview(bytearray(64)).cast("i")):
        with pytest.raises(ValueError, match="no cell"):
            CellLock(other, 0, 1, recover)
    with pytest.raises(BufferError):
        CellLock(memoryview(bytes(64)).cast("q"), 0, 1, recover)
    with pytest.raises(BufferError):
        CellLock(whole[::2], 0, 1, recover)
