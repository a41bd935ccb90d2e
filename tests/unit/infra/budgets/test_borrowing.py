"""How much a machine borrows: less and less as a budget is used up, and never more than is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.flow.ports.budgets import WindowState
from llm_gateway.infra.budgets.borrowing import change, share_percent


def state(**changes: Any) -> WindowState:
    values = {"amount": 1000, "spent": 0, "others": 0, "borrowed": 0, "shipped": 0, **changes}
    return WindowState(**values)


@pytest.mark.parametrize(
    ("spent", "percent"), [(0, 25), (499, 25), (500, 10), (799, 10), (800, 5), (1000, 5), (2000, 5)]
)
def test_the_share_shrinks_as_the_budget_is_used_up(spent: int, percent: int) -> None:
    assert share_percent(state(spent=spent)) == percent


@pytest.mark.parametrize(
    ("spent", "waiting", "soon", "expected"),
    [
        # A floor of 1 %, so that the next request need not wait.
        (0, 0, 0, 10),
        (0, 0, 100, 100),
        (0, 0, 900, 250),
        # What waits is borrowed in any case.
        (0, 400, 0, 400),
        (600, 0, 900, 100),
        # Near the end it is what waits now.
        (960, 0, 900, 0),
        (960, 7, 900, 7),
        (960, 70, 0, 40),
        (1000, 70, 0, 0),
    ],
)
def test_what_an_empty_machine_borrows(spent: int, waiting: int, soon: int, expected: int) -> None:
    assert change(state(spent=spent), 0, waiting, soon) == expected


def test_what_was_overspent_is_borrowed_first() -> None:
    assert change(state(), -30, 0, 0) == 40


def test_what_is_not_needed_is_returned_when_little_is_left() -> None:
    assert change(state(spent=900, borrowed=60), 60, 0, 20) == -40
    assert change(state(spent=100, borrowed=60), 60, 0, 20) == 0


def test_a_machine_whose_lease_ended_returns_what_others_took() -> None:
    assert change(state(spent=500, others=450, borrowed=100), 100, 0, 0) == -50
    assert change(state(spent=500, others=450, borrowed=100), 20, 0, 0) == -20


@given(
    amount=st.integers(0, 10**6),
    spent=st.integers(0, 10**6),
    others=st.integers(0, 10**6),
    borrowed=st.integers(0, 10**6),
    on_hand=st.integers(-(10**6), 10**6),
    waiting=st.integers(0, 10**6),
    soon=st.integers(0, 10**6),
)
def test_nobody_borrows_more_than_is_left(
    amount: int, spent: int, others: int, borrowed: int, on_hand: int, waiting: int, soon: int
) -> None:
    window = state(amount=amount, spent=spent, others=others, borrowed=borrowed)
    found = change(window, on_hand, waiting, soon)
    assert found <= max(window.left, 0)
    assert found >= -max(on_hand, 0)
