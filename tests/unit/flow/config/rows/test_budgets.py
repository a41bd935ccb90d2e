"""From when a budget counts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget, counting_from

ROW = StoredBudget(
    id=1,
    created_at=0,
    updated_at=0,
    name="b",
    scope="tenant",
    subject="acme",
    amount_nano_usd=5,
    period="day",
    models=("m",),
    is_enabled=True,
    counts_from=7,
)


def test_a_new_budget_counts_from_now() -> None:
    assert counting_from(BudgetUpdate(name="b"), None, 9).counts_from == 9


@pytest.mark.parametrize(
    "change",
    [{"scope": "project"}, {"subject": "x"}, {"subject": None}, {"models": None}, {"period": "month"}],
)
def test_a_budget_that_is_to_cover_other_requests_counts_from_now(change: dict[str, Any]) -> None:
    assert counting_from(BudgetUpdate(**change), ROW, 9).counts_from == 9


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "x", "amount_nano_usd": 6, "is_enabled": False},
        {"scope": "tenant", "subject": "acme", "models": ("m",), "period": "day"},
    ],
)
def test_other_changes_leave_the_spend_as_it_is(change: dict[str, Any]) -> None:
    assert counting_from(BudgetUpdate(**change), ROW, 9).counts_from is UNSET
