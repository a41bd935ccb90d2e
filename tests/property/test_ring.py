"""The ring keeps its rule for any times, limits, changes of limits, and deaths in the middle of a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.rate_limits import ring as rule
from llm_gateway.infra.rate_limits.ring import FREE, RING_SIZE, WINDOW, is_idle, take

# Pauses that land on, just before and just after a window's edge, and anything between.
_PAUSES = st.one_of(
    st.sampled_from([0, 1, WINDOW // 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW]),
    st.integers(0, WINDOW // 3),
)
_STARTS = st.integers(0, 10**17)


@contextmanager
def few_cells(count: int) -> Iterator[None]:
    """Let rings have so few cells that small limits are counted in groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule, "CELLS", count)
        # Shapes are remembered, and hang on the number of cells.
        rule._shape.cache_clear()
        yield
    rule._shape.cache_clear()


class Admitted:
    """What a perfect memory says."""

    def __init__(self) -> None:
        self.moments: list[int] = []

    def last_second(self, now: int) -> list[int]:
        self.moments = [moment for moment in self.moments if now - moment < WINDOW]
        return self.moments


def passes_at_once(ring: list[int], limit: int, now: int) -> int:
    copy = ring.copy()
    count = 0
    while take(copy, limit, now).allowed:
        count += 1
    return count


@given(start=_STARTS, limit=st.integers(1, 12), pauses=st.lists(_PAUSES, max_size=60))
def test_s4_47_exactly_the_limit_in_any_one_second(start: int, limit: int, pauses: list[int]) -> None:
    ring, admitted, now = [0] * RING_SIZE, Admitted(), start
    for pause in pauses:
        now += pause
        before = list(admitted.last_second(now))
        verdict = take(ring, limit, now)
        assert verdict.allowed == (len(before) < limit)
        if verdict.allowed:
            admitted.moments.append(now)
        moments = admitted.last_second(now)
        assert verdict.limit == limit
        assert verdict.remaining == limit - len(moments)
        blocking = 0 if verdict.remaining else moments[0] + WINDOW - now
        assert verdict.retry_after == blocking / WINDOW
        assert verdict.reset_after == (moments[-1] + WINDOW - now) / WINDOW


@given(
    start=_STARTS,
    cells=st.integers(1, 5),
    limit=st.integers(1, 40),
    pauses=st.lists(_PAUSES, min_size=1, max_size=120),
)
def test_groups_never_admit_more_and_refuse_no_sooner_than_a_group_before(
    start: int, cells: int, limit: int, pauses: list[int]
) -> None:
    with few_cells(cells):
        group = -(-limit // cells)
        ring, admitted, now = [0] * RING_SIZE, Admitted(), start
        for pause in pauses:
            now += pause
            taken = len(admitted.last_second(now))
            verdict = take(ring, limit, now)
            if verdict.allowed:
                assert taken < limit
                admitted.moments.append(now)
            else:
                assert taken > limit - group
            assert verdict.remaining == passes_at_once(ring, limit, now)
            assert (verdict.retry_after == 0) == (verdict.remaining > 0)
            assert verdict.retry_after <= verdict.reset_after <= 1
            if verdict.retry_after:
                later = now + round(verdict.retry_after * WINDOW)
                assert not passes_at_once(ring, limit, later - 1)
                assert passes_at_once(ring, limit, later)
            all_free = now + round(verdict.reset_after * WINDOW)
            assert passes_at_once(ring, limit, all_free) == limit


@given(
    start=_STARTS,
    steps=st.lists(st.tuples(_PAUSES, st.integers(1, 12)), max_size=80),
)
def test_a_changed_limit_counts_what_was_admitted_under_the_old_one(
    start: int, steps: list[tuple[int, int]]
) -> None:
    ring, admitted, now = [0] * RING_SIZE, Admitted(), start
    for pause, limit in steps:
        now += pause
        before = list(admitted.last_second(now))
        verdict = take(ring, limit, now)
        assert verdict.allowed == (len(before) < limit)
        if verdict.allowed:
            admitted.moments.append(now)
        else:
            assert verdict.retry_after == (before[len(before) - limit] + WINDOW - now) / WINDOW
            assert verdict.reset_after == (before[-1] + WINDOW - now) / WINDOW
        assert verdict.remaining == max(0, limit - len(admitted.last_second(now)))


@given(
    start=_STARTS,
    cells=st.integers(1, 4),
    steps=st.lists(st.tuples(_PAUSES, st.integers(1, 24)), max_size=80),
)
def test_a_limit_changed_between_groups_admits_no_more(
    start: int, cells: int, steps: list[tuple[int, int]]
) -> None:
    with few_cells(cells):
        ring, admitted, now = [0] * RING_SIZE, Admitted(), start
        for pause, limit in steps:
            now += pause
            taken = len(admitted.last_second(now))
            if take(ring, limit, now).allowed:
                assert taken < limit
                admitted.moments.append(now)
        for limit in {limit for _, limit in steps}:
            assert passes_at_once(ring, limit, now + WINDOW) == limit


@given(
    start=_STARTS,
    cells=st.sampled_from([1, 2, 5, 1000]),
    steps=st.lists(st.tuples(_PAUSES, st.sampled_from([1, 3, 3, 3, 12]), st.integers(-2, 14)), max_size=80),
)
def test_no_hint_of_free_cells_changes_a_verdict(
    start: int, cells: int, steps: list[tuple[int, int, int]]
) -> None:
    with few_cells(cells):
        ring, misled, now = [0] * RING_SIZE, [0] * RING_SIZE, start
        for pause, limit, hint in steps:
            now += pause
            misled[FREE] = hint
            assert take(misled, limit, now) == take(ring, limit, now)


class Killed(Exception):
    """The process is gone."""


class DeadlyRing(list[int]):
    """A ring whose user is killed before one of its stores."""

    stores_left = -1

    def __setitem__(self, index: int, value: int) -> None:  # type: ignore[override]
        if self.stores_left == 0:
            raise Killed
        self.stores_left -= 1
        super().__setitem__(index, value)


@given(
    start=_STARTS,
    cells=st.sampled_from([2, 5, 1000]),
    steps=st.lists(
        st.tuples(_PAUSES, st.sampled_from([3, 3, 3, 7, 12]), st.integers(-1, 9)), min_size=1, max_size=80
    ),
)
def test_a_death_anywhere_lets_none_too_many_through_and_blocks_for_a_second_at_most(
    start: int, cells: int, steps: list[tuple[int, int, int]]
) -> None:
    with few_cells(cells):
        ring, admitted, now = DeadlyRing([0] * RING_SIZE), Admitted(), start
        for pause, limit, stores in steps:
            now += pause
            taken = len(admitted.last_second(now))
            ring.stores_left = stores
            try:
                verdict = take(ring, limit, now)
            except Killed:
                continue
            if verdict.allowed:
                assert taken < limit
                admitted.moments.append(now)
        ring.stores_left = -1
        survivor = list(ring)
        for limit in (3, 7, 12):
            # A ring torn while it was made anew holds back everything for one second more.
            verdict = take(survivor.copy(), limit, now + WINDOW)
            later = now + WINDOW + (0 if verdict.allowed else WINDOW)
            ready = survivor.copy()
            take(ready, limit, now + WINDOW)
            if verdict.allowed:
                assert passes_at_once(survivor, limit, later) == limit
            else:
                assert passes_at_once(ready, limit, later) == limit


@given(start=_STARTS, limit=st.integers(1, 12), count=st.integers(1, 20), pause=_PAUSES)
def test_a_ring_is_idle_a_second_after_the_last_admission(
    start: int, limit: int, count: int, pause: int
) -> None:
    ring = [0] * RING_SIZE
    assert is_idle(ring, start)
    for _ in range(count):
        take(ring, limit, start)
    assert is_idle(ring, start + pause) == (pause >= WINDOW)


def test_cells_of_another_age_of_the_machine_block_nobody() -> None:
    ring = [0] * RING_SIZE
    long_ago = 10**16
    for _ in range(5):
        take(ring, 5, long_ago)
    after_restart = 10**9
    verdict = take(ring, 5, after_restart)
    assert verdict.allowed
