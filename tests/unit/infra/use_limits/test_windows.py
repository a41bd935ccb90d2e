"""No window of the length ever holds more than was admitted by its limit, and none forgets too late."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.use_limits.windows import (
    CELLS,
    MINUTE_CELL,
    ROW,
    add,
    advance,
    subtract,
    until_free,
    used,
    used_at,
)

MINUTE = 60 * MINUTE_CELL


def new_row() -> memoryview[int]:
    return memoryview(bytearray(8 * (ROW + 2))).cast("q")


@given(st.lists(st.integers(0, 20_000), max_size=200), st.integers(1, 9))
def test_no_minute_has_more_than_the_limit_and_none_waits_a_second_longer(
    waits: list[int], limit: int
) -> None:
    row, now = new_row(), 10**15
    admitted: deque[int] = deque()
    for wait in waits:
        now += wait * 1_000_000
        advance(row, 1, now // MINUTE_CELL)
        if used(row, 1) < limit:
            add(row, 1, 1)
            admitted.append(now)
        else:
            last_minute = [at for at in admitted if at > now - MINUTE - MINUTE_CELL]
            assert len(last_minute) >= limit, "refused although there was room"
        assert len([at for at in admitted if at > now - MINUTE]) <= limit
    assert row[0] == row[ROW + 1] == 0, "what is beside the row is not touched"


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 50)), max_size=60), st.integers(0, 200))
def test_a_look_sees_what_an_advance_would(steps: list[tuple[int, int]], later: int) -> None:
    row, cell = new_row(), 10**6
    for seconds, amount in steps:
        cell += seconds
        advance(row, 1, cell)
        add(row, 1, amount)
    seen = used_at(row, 1, cell + later)
    advance(row, 1, cell + later)
    assert seen == used(row, 1)


def test_what_is_taken_back_is_taken_from_its_own_cell() -> None:
    row = new_row()
    advance(row, 1, 100)
    first = add(row, 1, 5)
    advance(row, 1, 110)
    add(row, 1, 7)
    subtract(row, 1, first, 3)
    assert used(row, 1) == 9
    subtract(row, 1, first, 99)
    assert used(row, 1) == 7
    advance(row, 1, first + CELLS)
    subtract(row, 1, first, 1)
    assert used(row, 1) == 7, "its cell is another second's now"


def test_the_wait_ends_when_enough_has_left() -> None:
    row, now = new_row(), 1000 * MINUTE_CELL
    for second in range(3):
        advance(row, 1, now // MINUTE_CELL + second)
        add(row, 1, 10)
    assert until_free(row, 1, 10, now, MINUTE_CELL) == 61
    assert until_free(row, 1, 11, now, MINUTE_CELL) == 62
    assert until_free(row, 1, 99, now, MINUTE_CELL) == 61


def test_a_clock_that_goes_back_a_little_counts_on_and_one_of_another_boot_starts_again() -> None:
    row = new_row()
    advance(row, 1, 1000)
    add(row, 1, 5)
    advance(row, 1, 990)
    assert used(row, 1) == 5
    advance(row, 1, 3)
    assert used(row, 1) == 0
