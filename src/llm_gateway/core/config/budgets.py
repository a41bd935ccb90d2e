"""Which budgets cover a request, and the window of time that it counts in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from llm_gateway.core.calendar import day_of, month_of
from llm_gateway.core.config.limits import Budget, BudgetScope
from llm_gateway.core.config.model_patterns import ModelPatterns

# Longest subject, in characters, as usage rows store it.
_LONGEST_NAME: Final = 256


class Spender(NamedTuple):
    """On whose behalf a request is sent; None where it is nobody's.

    `agent` and `user` are None unless the caller that names them is trusted.
    """

    credential: str | None
    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    user: str | None = None


class BudgetWindow(NamedTuple):
    """One window of a budget, as the key of its balance.

    `subject` is the agent or user for budgets that each of them has, else "". `start` is in Unix microseconds: when
    the day or month begins, or when the budget began to count, whichever is later.
    """

    budget_id: int
    subject: str
    start: int


class Covered(NamedTuple):
    """A budget that covers a request, and the window that the request counts in; `end` None = it never ends."""

    budget: Budget
    window: BudgetWindow
    end: int | None


class CompiledBudget:
    """A budget with its model patterns compiled."""

    __slots__ = ("_end", "_start", "budget", "models")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.models = ModelPatterns(budget.models)
        # The period that was asked for last.
        self._start, self._end = 0, 0

    @property
    def is_of_each(self) -> bool:
        """Whether each agent or user (or whatever the scope is) has the whole amount."""
        return self.budget.scope != "all" and self.budget.subject is None

    def covered(self, spender: Spender, at: int, zone: tzinfo) -> Covered | None:
        """Return the window that a request of `spender` counts in; `at` is when it began. Ignores the model."""
        budget = self.budget
        if at < budget.counts_from:
            return None
        subject = ""
        if budget.scope != "all":
            name = getattr(spender, budget.scope)
            if not name:
                return None
            if budget.subject is None:
                subject = stored_name(name)
            elif stored_name(name) != budget.subject:
                return None
        return self.window(subject, at, zone)

    def window(self, subject: str, at: int, zone: tzinfo) -> Covered:
        """Return the window of `subject` that the time `at` is in."""
        budget = self.budget
        counts_from = budget.counts_from
        if budget.period == "total":
            return Covered(budget, BudgetWindow(budget.id, subject, counts_from), None)
        if not self._start <= at < self._end:
            self._start, self._end = day_of(at, zone) if budget.period == "day" else month_of(at, zone)
        return Covered(budget, BudgetWindow(budget.id, subject, max(self._start, counts_from)), self._end)


class BudgetIndex:
    """Finds the budgets that cover a request."""

    __slots__ = ("_by_scope", "_everywhere", "by_id")

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self.by_id = {budget.id: CompiledBudget(budget) for budget in budgets}
        # Those without a subject, and those of one name: (scope, name).
        self._everywhere = tuple(one for one in self.by_id.values() if one.budget.subject is None)
        by_scope: dict[tuple[BudgetScope, str], list[CompiledBudget]] = {}
        for one in self.by_id.values():
            if one.budget.subject is not None:
                by_scope.setdefault((one.budget.scope, one.budget.subject), []).append(one)
        self._by_scope: Mapping[tuple[BudgetScope, str], list[CompiledBudget]] = by_scope

    def named(self, scope: BudgetScope, name: str) -> Sequence[CompiledBudget]:
        """Return the budgets of one name."""
        return self._by_scope.get((scope, stored_name(name)), ())

    def candidates(self, spender: Spender, *, any_name: bool = False) -> tuple[CompiledBudget, ...]:
        """Return the budgets that may cover requests of `spender`.

        `any_name` adds those of every name that `spender` lacks, for a caller whose requests may state one. No
        request states a credential.
        """
        found = list(self._everywhere)
        for scope in ("credential", "tenant", "project", "agent", "user"):
            name = getattr(spender, scope)
            if name:
                found += self._by_scope.get((scope, stored_name(name)), ())
        if any_name:
            found += [
                one
                for (scope, _), some in self._by_scope.items()
                if scope != "credential" and getattr(spender, scope) is None
                for one in some
            ]
        return tuple(sorted(found, key=lambda one: one.budget.id))

    def covering(self, spender: Spender, model: str | None, at: int, zone: tzinfo) -> list[Covered]:
        """Return the windows that a request counts in, in the order of their budgets' ids."""
        return [
            covered
            for one in self.candidates(spender)
            if covers_model(one, model) and (covered := one.covered(spender, at, zone)) is not None
        ]


def covers_model(compiled: CompiledBudget, model: str | None) -> bool:
    """Tell whether requests for `model` count; those that named none count in budgets of all models."""
    return compiled.models.everything or (model is not None and stored_name(model) in compiled.models)


def stored_name(name: str) -> str:
    """Return a name as usage rows store it, so that a request and its row count in the same window."""
    return (
        name
        if len(name) <= _LONGEST_NAME and "\0" not in name
        else name[:_LONGEST_NAME].replace("\0", "\ufffd")
    )
