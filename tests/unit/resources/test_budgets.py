"""A budget's body holds what the client sent, in nano-USD; a stored one is shown in USD."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget
from llm_gateway.resources.budgets import BudgetChange, BudgetView, NewBudget, shown

ROW = StoredBudget(
    id=2,
    created_at=1,
    updated_at=2,
    name="b",
    scope="tenant",
    subject="acme",
    amount_nano_usd=1_500_000_000,
    period="day",
    models=("gpt-*",),
    is_enabled=True,
    counts_from=3_000_000,
)


def test_a_change_sets_only_what_was_sent() -> None:
    assert BudgetChange.model_validate({}).update() == BudgetUpdate()
    sent = {"amount_usd": "0.1", "models": ["m"], "subject": None, "period": "total"}
    assert BudgetChange.model_validate(sent).update() == BudgetUpdate(
        amount_nano_usd=100_000_000, models=("m",), subject=None, period="total"
    )


@pytest.mark.parametrize("amount", [True, None, [], {}, "x", "0.0000000001", float("nan")])
def test_an_amount_is_decimal_usd(amount: object) -> None:
    body = {"name": "b", "scope": "all", "period": "day", "amount_usd": amount}
    with pytest.raises(ValidationError) as error:
        NewBudget.model_validate(body)
    assert [found["loc"] for found in error.value.errors()] == [("amount_usd",)]


def test_what_the_gateway_sets_may_be_sent_back_and_is_ignored() -> None:
    row = shown(ROW, []) | {"spent_usd": "1", "held_usd": "0", "remaining_usd": "0.5", "reset_at": None}
    update = BudgetChange.model_validate(row).update()
    assert update.counts_from is UNSET
    assert update.amount_nano_usd == ROW.amount_nano_usd


def test_a_stored_budget_is_shown_in_usd() -> None:
    view = BudgetView.model_validate(shown(ROW, [])).model_dump(exclude_unset=True)
    assert (view["amount_usd"], view["models"]) == ("1.5", ["gpt-*"])
    assert view["counts_from"] == "1970-01-01T00:00:03.000000Z"
    assert view.keys().isdisjoint({"spent_usd", "held_usd", "remaining_usd", "reset_at", "warnings"})


def test_what_cannot_be_read_is_null() -> None:
    broken = msgspec.structs.replace(
        ROW, amount_nano_usd=UNSET, models=UNSET, is_enabled=UNSET, counts_from=UNSET
    )
    view = BudgetView.model_validate(shown(broken, [])).model_dump()
    assert (view["amount_usd"], view["models"], view["is_enabled"], view["counts_from"]) == (
        None,
        None,
        False,
        None,
    )
