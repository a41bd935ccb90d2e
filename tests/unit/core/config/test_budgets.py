"""Which budgets cover a request, and in which window it counts."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llm_gateway.core.config.budgets import BudgetIndex, BudgetWindow, CompiledBudget, Spender, stored_name
from llm_gateway.core.config.limits import Budget

DAY = 86_400_000_000
# 2026-11-29T00:00:00Z
MIDNIGHT = 1_795_910_400_000_000


def budget(**changes: Any) -> Budget:
    values: dict[str, Any] = {
        "id": 1,
        "name": "b",
        "scope": "all",
        "amount_nano_usd": 5,
        "period": "day",
        "counts_from": 0,
    }
    return Budget(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "spender", "is_covered"),
    [
        ({}, Spender(None), True),
        ({"scope": "credential", "subject": "c"}, Spender("c"), True),
        ({"scope": "credential", "subject": "c"}, Spender("d"), False),
        ({"scope": "tenant", "subject": "t"}, Spender("c", "t"), True),
        ({"scope": "tenant", "subject": "t"}, Spender("t"), False),
        ({"scope": "project", "subject": "p"}, Spender("c", None, "p"), True),
        ({"scope": "agent", "subject": "a"}, Spender("c", agent="a"), True),
        ({"scope": "agent", "subject": "a"}, Spender("c"), False),
        ({"scope": "user"}, Spender("c", user="u"), True),
        ({"scope": "user"}, Spender("c", user=""), False),
    ],
)
def test_a_budget_covers_the_requests_of_its_subject(
    changes: dict[str, Any], spender: Spender, is_covered: bool
) -> None:
    found = BudgetIndex([budget(**changes)]).covering(spender, "m", MIDNIGHT, UTC)
    assert bool(found) is is_covered


def test_budgets_come_in_the_order_of_their_ids() -> None:
    index = BudgetIndex(
        [budget(id=3), budget(id=1, scope="credential", subject="c"), budget(id=2, models=("other",))]
    )
    assert [one.budget.id for one in index.covering(Spender("c"), "m", MIDNIGHT, UTC)] == [1, 3]


def test_a_request_without_a_model_counts_in_budgets_of_all_models_alone() -> None:
    index = BudgetIndex([budget(id=1), budget(id=2, models=("*m",)), budget(id=3, models=("*",))])
    assert [one.budget.id for one in index.covering(Spender("c"), None, MIDNIGHT, UTC)] == [1, 3]
    assert [one.budget.id for one in index.covering(Spender("c"), "m", MIDNIGHT, UTC)] == [1, 2, 3]


def test_windows_are_periods_of_the_time_zone() -> None:
    one = CompiledBudget(budget())
    assert one.window("", MIDNIGHT - 1, UTC)[1:] == (BudgetWindow(1, "", MIDNIGHT - DAY), MIDNIGHT)
    assert one.window("", MIDNIGHT, UTC)[1:] == (BudgetWindow(1, "", MIDNIGHT), MIDNIGHT + DAY)
    month = CompiledBudget(budget(period="month"))
    november = month.window("", MIDNIGHT, ZoneInfo("Europe/Berlin"))
    assert november.window.start == MIDNIGHT - 28 * DAY - 3_600_000_000
    assert november.end == MIDNIGHT + 2 * DAY - 3_600_000_000


def test_a_window_begins_when_the_budget_begins_to_count() -> None:
    one = CompiledBudget(budget(counts_from=MIDNIGHT + 5))
    assert one.covered(Spender("c"), MIDNIGHT + 4, UTC) is None
    covered = one.covered(Spender("c"), MIDNIGHT + 5, UTC)
    assert covered is not None
    assert covered.window == BudgetWindow(1, "", MIDNIGHT + 5)
    total = CompiledBudget(budget(period="total", counts_from=7)).window("", MIDNIGHT, UTC)
    assert total[1:] == (BudgetWindow(1, "", 7), None)


def test_each_agent_has_a_window_of_its_own() -> None:
    index = BudgetIndex([budget(scope="agent")])
    (covered,) = index.covering(Spender("c", agent="a" * 300), "m", MIDNIGHT, UTC)
    assert covered.window.subject == "a" * 256 == stored_name("a" * 300)
    assert index.by_id[1].is_of_each


def test_a_credential_that_names_agents_has_all_their_budgets() -> None:
    index = BudgetIndex(
        [budget(id=1, scope="agent", subject="a"), budget(id=2, scope="user", subject="u"), budget(id=3)]
    )
    assert [one.budget.id for one in index.candidates(Spender("c"))] == [3]
    assert [one.budget.id for one in index.candidates(Spender("c"), any_name=True)] == [1, 2, 3]
