"""Puts the parts of budgets together: the machine's share, the task that borrows, and the limit of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import tzinfo

import msgspec

from llm_gateway.app.storage import Storage
from llm_gateway.core.config.budgets import Covered
from llm_gateway.core.config.limits import BudgetScope
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.accounting.budget_limit import BudgetLimit
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.ports.budgets import ShortageReason
from llm_gateway.flow.ports.catalog import Snapshots
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.budgets import open_shares
from llm_gateway.infra.budgets.keeper import Keeper
from llm_gateway.infra.budgets.shares import SharedBudgets
from llm_gateway.infra.budgets.webhook import BudgetWebhook
from llm_gateway.infra.database.budgets.posting import Holder
from llm_gateway.settings import Settings

# Windows that are borrowed for before a request comes, for budgets that are not of every agent or user.
_MOST_WANTED = 256


# As the metric of refusals names them.
_REASONS: Mapping[ShortageReason, str] = {
    "spent": "budget",
    "short": "budget_unavailable",
    "unavailable": "budget_unavailable",
}


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that others use."""

    limit: BudgetLimit
    keeper: Keeper
    shares: SharedBudgets


def open_budgets(
    settings: Settings,
    storage: Storage,
    clock: Clock,
    snapshots: Snapshots,
    estimator: TokenEstimator,
    flush: Callable[[float], Awaitable[bool]],
    on_refusal: Callable[[BudgetScope, str], None],
    stack: AsyncExitStack,
) -> Budgets:
    """Open all of it; `stack` closes it. The keeper has to be started.

    `flush` waits until all usage rows of this machine are stored; `on_refusal` is told of every refusal, by the scope
    of the budget and the reason. Raises StartupError.
    """
    file, bell = open_shares(settings.data_dir / "run", storage.namespace, clock.unix_us())
    stack.callback(file.close)
    stack.callback(bell.close)
    storage.budget_posting.holder = Holder(file.holder, file.since)
    keeper = Keeper(
        file,
        bell,
        storage.balances,
        flush,
        lease=settings.budget_lease,
        wanted=lambda known: _wanted(known, snapshots.current, clock.unix_us(), settings.zone),
    )
    stack.push_async_callback(keeper.close)
    shares = SharedBudgets(file, bell)
    stack.callback(shares.close)
    limit = BudgetLimit(
        shares,
        estimator,
        settings.zone,
        fail=settings.budgets_fail,
        on_refusal=lambda scope, reason: on_refusal(scope, _REASONS[reason]),
    )
    return Budgets(limit=limit, keeper=keeper, shares=shares)


def budget_webhook(
    settings: Settings, storage: Storage, upstream: Upstream, keeper: Keeper
) -> BudgetWebhook | None:
    """Return the task that tells the webhook; None without one."""
    if settings.budget_webhook_url is None:
        return None
    return BudgetWebhook(
        upstream,
        storage.budget_notices,
        settings.budget_webhook_url,
        settings.budget_webhook_secret,
        is_elected=lambda: keeper.elected,
    )


def used_ratios(budgets: Budgets, snapshot: Snapshot | None, now: int) -> dict[str, float]:
    """Return the used part of budgets by name, spent or held, as far as this machine uses them now."""
    if snapshot is None or not snapshot.budgets.by_id:
        return {}
    return {
        compiled.budget.name: ratio
        for budget_id, ratio in budgets.shares.used_ratios(now).items()
        if (compiled := snapshot.budgets.by_id.get(budget_id)) is not None and not compiled.is_of_each
    }


def _wanted(
    known: object, snapshot: Snapshot | None, now: int, zone: tzinfo
) -> tuple[object, Sequence[Covered]]:
    if snapshot is None or snapshot.version == known:
        return known, ()
    wanted = []
    for compiled in snapshot.budgets.by_id.values():
        budget = compiled.budget
        if budget.scope not in {"agent", "user"} and not compiled.is_of_each:
            wanted.append(compiled.window("", max(now, budget.counts_from), zone))
            if len(wanted) == _MOST_WANTED:
                break
    return snapshot.version, wanted
