"""Limits of use that credentials, tenants, projects, agents and users may have, and budgets of money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from llm_gateway.core.config.faults import Fault

# `all`: every request. `agent` and `user`: names that a trusted caller states.
BudgetScope = Literal["all", "credential", "tenant", "project", "agent", "user"]
# Calendar days and months in the gateway's time zone.
BudgetPeriod = Literal["day", "month", "total"]

# A thousand million USD: an upper bound, so that a typing error cannot look like a budget.
LARGEST_BUDGET_NANO_USD = 10**18
_NAMED_SCOPES = frozenset({"credential", "tenant", "project"})


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits that one account holds; None = unlimited, 0 = nothing.

    Minutes are any 60 seconds, days are calendar days in the gateway's time zone.
    """

    requests_per_second: int | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_requests: int | None = None


def allows_nothing(limits: Limits) -> bool:
    """Tell whether one of the limits is 0."""
    return 0 in msgspec.structs.astuple(limits)


def limits_faults(field: str, limits: Limits | None) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for each invalid value of the limits in `field`."""
    if limits is None:
        return
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and value < 0:
            yield f"{field}.{name}", f"{field}.{name} must be 0 or more, or null"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """An amount that requests may cost together."""

    id: int
    name: str
    scope: BudgetScope
    # The name of the credential, tenant, project, agent or user. None for the scope `all`, and for budgets of every
    # agent or user: each has the whole amount.
    subject: str | None = None
    amount_nano_usd: int
    period: BudgetPeriod
    # Public names or globs; None = all models.
    models: tuple[str, ...] | None = None
    is_enabled: bool = True
    # Requests that began earlier do not count; Unix microseconds.
    counts_from: int


def budget_faults(budget: Budget) -> list[Fault]:
    """Return everything that is wrong with one budget.

    The subject may name a row that does not exist: it can be deleted first.
    """
    return [Fault("budget", budget.name, field, message, budget.id) for field, message in _faults(budget)]


def _faults(budget: Budget) -> Iterator[tuple[str, str]]:
    if not budget.name:
        yield "name", "name must not be empty"
    if budget.scope not in get_args(BudgetScope):
        yield "scope", f"scope must be one of: {', '.join(get_args(BudgetScope))}"
    elif budget.scope == "all" and budget.subject is not None:
        yield "subject", "subject must be null: the scope is all"
    elif budget.scope in _NAMED_SCOPES and not budget.subject:
        yield "subject", f"subject must be the name of a {budget.scope}: the scope is {budget.scope}"
    elif budget.subject == "":
        yield "subject", f"subject must be the name of one {budget.scope}, or null for each of them"
    if budget.period not in get_args(BudgetPeriod):
        yield "period", f"period must be one of: {', '.join(get_args(BudgetPeriod))}"
    if not 0 < budget.amount_nano_usd <= LARGEST_BUDGET_NANO_USD:
        yield "amount_usd", f"amount_usd must be more than 0 and at most {LARGEST_BUDGET_NANO_USD // 10**9}"
    if budget.models is not None and not all((budget.models, *budget.models)):
        yield "models", "models must hold one name or glob at least, or be null for all models"
