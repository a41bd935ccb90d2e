"""The mapped file: workers find the same slots, and what the dead held comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.infra.budgets import share_file
from llm_gateway.infra.budgets.share_file import BORROWED, HOLDS, OPEN, USED, ShareFile, window_of
from tests.fakes.compiled_parts import WAYS, Way, locking

WINDOW = BudgetWindow(7, "agent \u00e9", 5)


@pytest.fixture(autouse=True, params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[ShareFile]]:
    files = [ShareFile(tmp_path, "db", 17), ShareFile(tmp_path, "db", 99)]
    yield files
    for file in files:
        file.close()


def test_workers_have_places_and_share_slots(two: list[ShareFile]) -> None:
    first, second = two
    assert (first.worker, second.worker) == (0, 1)
    assert (first.holder, first.since) == (second.holder, 17)
    with first.locked():
        assert not second.try_lock()
        slot = first.claim(WINDOW, None)
        assert slot is not None
        assert window_of(slot) == WINDOW
        slot[BORROWED] = 100
        slot[HOLDS + 0], slot[USED + 1] = 30, 5
    with second.locked():
        found = second.find(WINDOW)
        assert found is not None
        assert second.on_hand(found) == 65
        assert second.claim(WINDOW, None) is not None
        assert len(second.slots()) == 1


def test_what_a_dead_worker_held_comes_back_and_what_it_spent_does_not(two: list[ShareFile]) -> None:
    first, second = two
    with first.locked():
        slot = first.claim(WINDOW, None)
        assert slot is not None
        slot[BORROWED], slot[HOLDS + 1], slot[USED + 1], slot[OPEN + 1] = 100, 30, 5, 2
    assert first.dead_workers() == []
    second.close()
    assert first.dead_workers() == [1]
    with first.locked():
        first.clear_workers([1])
        assert (first.on_hand(slot), first.sum(slot, OPEN)) == (95, 0)


def test_a_new_worker_clears_its_place(two: list[ShareFile], tmp_path: Path) -> None:
    first, second = two
    with first.locked():
        slot = first.claim(WINDOW, None)
        assert slot is not None
        slot[HOLDS + 1] = 30
    second.close()
    two[1] = ShareFile(tmp_path, "db", 1)
    assert two[1].worker == 1
    assert slot[HOLDS + 1] == 0


def test_a_freed_slot_is_found_by_nobody(two: list[ShareFile]) -> None:
    first, second = two
    other = WINDOW._replace(start=6)
    with first.locked():
        slot = first.claim(WINDOW, 9)
        assert slot is not None
    with second.locked():
        assert second.find(WINDOW) is not None
    with first.locked():
        first.free(slot)
    with second.locked():
        assert second.find(WINDOW) is None
        taken = second.claim(other, 9)
        assert taken is not None
        assert window_of(taken) == other
        assert second.find(WINDOW) is None


def test_slots_run_out(two: list[ShareFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_file, "MAX_SLOTS", 3)
    with two[0].locked():
        claimed = [two[0].claim(WINDOW._replace(start=start), None) for start in range(4)]
    assert [slot is not None for slot in claimed] == [True, True, True, False]


def test_another_database_has_another_file(two: list[ShareFile], tmp_path: Path) -> None:
    other = ShareFile(tmp_path, "other", 1)
    assert other.holder != two[0].holder
    assert other.worker == 0
    other.close()


def test_the_name_lasts_as_long_as_the_file(tmp_path: Path) -> None:
    first = ShareFile(tmp_path, "db", 1)
    holder = first.holder
    first.close()
    again = ShareFile(tmp_path, "db", 2)
    assert (again.holder, again.since) == (holder, 1)
    again.close()
    (again.folder / "shares").unlink()
    anew = ShareFile(tmp_path, "db", 3)
    assert anew.holder != holder
    anew.close()


def test_the_last_worker_knows_that_it_is(two: list[ShareFile]) -> None:
    assert not two[0].leave()
    assert two[1].leave()


def test_who_has_left_is_still_kept_out_by_the_lock(two: list[ShareFile], tmp_path: Path) -> None:
    first, second = two
    first.leave()
    with first.locked():
        assert not second.try_lock()
    third = ShareFile(tmp_path, "db", 1)
    assert third.worker == first.worker
    with first.locked():
        assert not third.try_lock()
        assert not first.try_lock()
    with third.locked(), pytest.raises(BlockingIOError, match="is not released"), first.locked(3):
        pass
    third.close()


def test_a_lock_that_is_held_at_the_end_is_let_go(two: list[ShareFile]) -> None:
    first, second = two
    assert first.try_lock()
    first.close()
    first.close()
    assert second.try_lock()
    with pytest.raises(ValueError, match=r"closed|negative"):
        first.try_lock()


def test_workers_with_other_locks_have_another_file(
    two: list[ShareFile], tmp_path: Path, lock_way: Way
) -> None:
    with locking("python" if lock_way == "compiled" else "compiled"):
        other = ShareFile(tmp_path, "db", 1)
    assert other.holder != two[0].holder
    assert other.folder != two[0].folder
    with two[0].locked():
        assert other.try_lock()
    other.close()


def test_too_many_workers(tmp_path: Path) -> None:
    first = ShareFile(tmp_path, "db", 1, max_workers=1)
    with pytest.raises(OSError, match="1 workers share it already"):
        ShareFile(tmp_path, "db", 1, max_workers=1)
    first.close()
