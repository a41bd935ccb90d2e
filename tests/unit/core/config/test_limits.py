"""What a valid limit and a valid budget look like."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.limits import (
    LARGEST_BUDGET_NANO_USD,
    Budget,
    Limits,
    budget_faults,
    limits_faults,
)

VALID: dict[str, object] = {
    "id": 3,
    "name": "b",
    "scope": "all",
    "amount_nano_usd": 1,
    "period": "month",
    "counts_from": 0,
}


def faults(**fields: object) -> list[tuple[str, str]]:
    found = budget_faults(Budget(**(VALID | fields)))  # type: ignore[arg-type]
    assert {(fault.resource, fault.id) for fault in found} <= {("budget", 3)}
    return [(fault.field, fault.message) for fault in found]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"amount_nano_usd": LARGEST_BUDGET_NANO_USD},
        {"scope": "credential", "subject": "c"},
        {"scope": "tenant", "subject": "t"},
        {"scope": "project", "subject": "p"},
        {"scope": "agent", "subject": "a"},
        {"scope": "agent"},
        {"scope": "user"},
        {"models": ("gpt-*", "claude")},
        {"period": "day"},
        {"period": "total"},
    ],
)
def test_a_valid_budget_has_no_fault(fields: dict[str, object]) -> None:
    assert faults(**fields) == []


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"name": ""}, "name", "empty"),
        ({"scope": "galaxy"}, "scope", "all, credential, tenant, project, agent, user"),
        ({"subject": "x"}, "subject", "must be null"),
        ({"scope": "credential"}, "subject", "the name of a credential"),
        ({"scope": "tenant", "subject": ""}, "subject", "the name of a tenant"),
        ({"scope": "project"}, "subject", "the name of a project"),
        ({"scope": "user", "subject": ""}, "subject", "or null for each of them"),
        ({"amount_nano_usd": 0}, "amount_usd", "more than 0"),
        ({"amount_nano_usd": -1}, "amount_usd", "more than 0"),
        ({"amount_nano_usd": LARGEST_BUDGET_NANO_USD + 1}, "amount_usd", "at most 1000000000"),
        ({"period": "week"}, "period", "day, month, total"),
        ({"models": ()}, "models", "one name or glob at least"),
        ({"models": ("a", "")}, "models", "one name or glob at least"),
    ],
)
def test_what_is_wrong_with_a_budget_is_named(fields: dict[str, object], field: str, part: str) -> None:
    ((found, message),) = faults(**fields)
    assert (found, part in message, message.startswith(field)) == (field, True, True)


def test_limits_are_0_or_more() -> None:
    assert list(limits_faults("limits", None)) == []
    assert list(limits_faults("limits", Limits(requests_per_second=0, tokens_per_day=7))) == []
    broken = Limits(requests_per_minute=-1, concurrent_requests=-2)
    assert [field for field, _ in limits_faults("user_limits", broken)] == [
        "user_limits.requests_per_minute",
        "user_limits.concurrent_requests",
    ]
