"""What the gateway of a benchmark in process is set up with: known prices, a budget, limits of use.

Each setup answers the same requests; what one costs beyond `plain` is what its parts add.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.scenarios import MODELS
from benchmarks.targets.base import WEIGHTS
from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.budgets import BudgetWindow, CompiledBudget
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Budget, Limits
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.secret import Secret
from llm_gateway.flow.accounting.budget_limit import BudgetLimit
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.rate_limit import RateLimit
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.accounting.use_limit import UseLimits
from llm_gateway.flow.ports.budgets import Balances, Trade, WindowState
from llm_gateway.flow.ports.limits import Limit
from llm_gateway.infra.budgets import open_shares
from llm_gateway.infra.budgets.keeper import Keeper
from llm_gateway.infra.budgets.shares import SharedBudgets
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.use_limits import make_use_store

_PRICED_MODEL = "gpt-4o-mini"
_RATE_LIMIT = 1_000_000
_OUTPUT_TOKENS = 1024
# Seconds: longer than any benchmark, so that nothing has to be borrowed during it.
_LEASE = 36_000.0
_NAMESPACE = "benchmark"
# Large enough that no request is refused, whatever the number of batches.
_MOST = 1_000_000_000
_BUDGET: Final = Budget(
    id=1,
    name="benchmark",
    scope="credential",
    subject="load",
    amount_nano_usd=10**18,
    period="total",
    counts_from=0,
)
_FOUR: Final = Limits(
    requests_per_minute=_MOST, requests_per_day=_MOST, concurrent_requests=_MOST, tokens_per_minute=_MOST
)


@dataclass(frozen=True)
class Setup:
    """`limits` hold for the credential, and as many times more for accounts above it as `levels` says."""

    title: str
    priced: bool = False
    budget: bool = False
    limits: Limits | None = None
    levels: int = 1
    # Whether the limits of a running gateway are all asked, as the composition root has it, or that on rates alone.
    is_whole: bool = True


SETUPS: Final[Mapping[str, Setup]] = {
    "plain": Setup("no price, one rate limit", is_whole=False),
    "unused": Setup("limits of use and budgets without any that apply"),
    "priced": Setup("a known price", priced=True, is_whole=False),
    "budget": Setup("a known price and a budget", priced=True, budget=True),
    "requests": Setup("a limit on requests a minute", limits=Limits(requests_per_minute=_MOST)),
    "concurrent": Setup("a limit on concurrent requests", limits=Limits(concurrent_requests=_MOST)),
    "tokens": Setup("a limit on tokens a minute", limits=Limits(tokens_per_minute=_MOST)),
    "four": Setup("four limits of one account", limits=_FOUR),
    "four-of-three": Setup("four limits of each of three accounts", limits=_FOUR, levels=3),
    "all": Setup("a price, a budget, four limits", priced=True, budget=True, limits=_FOUR),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select setups; `setup` is None without any of them."""
    parser.add_argument("--setup", action="append", choices=list(SETUPS), help="may be given several times")
    for name in ("priced", "budget"):
        parser.add_argument(
            f"--{name}", action="append_const", dest="setup", const=name, help=SETUPS[name].title
        )


class _Balance(Balances):
    """Lends what is asked for, from memory."""

    def __init__(self) -> None:
        self._borrowed: dict[BudgetWindow, int] = {}

    async def trade(self, holder: str, lease: float, trades: Sequence[Trade]) -> Sequence[WindowState]:
        del holder, lease
        states = []
        for trade in trades:
            state = self._state(trade.window)
            borrowed = self._borrowed[trade.window] = state.borrowed + trade.change(state)
            states.append(msgspec.structs.replace(state, borrowed=borrowed))
        return states

    async def read(self, windows: Sequence[BudgetWindow]) -> Sequence[WindowState]:
        return [self._state(window) for window in windows]

    async def delete_ended_holds(self) -> None: ...

    def _state(self, window: BudgetWindow) -> WindowState:
        borrowed = self._borrowed.get(window, 0)
        return WindowState(amount=_BUDGET.amount_nano_usd, spent=0, others=0, borrowed=borrowed, shipped=0)


def catalog(setup: Setup, key_hash: bytes) -> Catalog:
    """Return the catalog: weighted providers, and one credential with what applies to it."""
    providers = tuple(
        Provider(
            id=number,
            provider_key=f"upstream-{number}",
            provider_type="openai",
            api_base=f"http://127.0.0.1:{8000 + number}/v1",
            secret=Secret("sk-upstream"),
            model_mapping=dict.fromkeys(MODELS, _PRICED_MODEL) if setup.priced else MODELS,
            price_provider="openai" if setup.priced else None,
            weight=weight,
        )
        for number, weight in enumerate(WEIGHTS, 1)
    )
    is_nested = setup.levels > 1
    load = Credential(
        id=1,
        name="load",
        key_hash=key_hash,
        rate_limit=_RATE_LIMIT,
        limits=setup.limits,
        tenant="tenant" if is_nested else None,
        project="project" if is_nested else None,
    )
    return Catalog(
        version=1,
        providers=providers,
        credentials=(load,),
        tenants=(Tenant(id=1, name="tenant", limits=setup.limits),) if is_nested else (),
        projects=(Project(id=1, name="project", tenant="tenant", limits=setup.limits),) if is_nested else (),
        budgets=(_BUDGET,) if setup.budget else (),
    )


async def limit_of(setup: Setup, folder: Path, stack: AsyncExitStack) -> Limit:
    """Return what requests are held to, made as the composition root does; only the balances are in memory."""
    rate = RateLimit(InProcessRateLimiter())
    if not setup.is_whole:
        return rate
    estimator = TokenEstimator(_OUTPUT_TOKENS)
    store = make_use_store(directory=folder, namespace=_NAMESPACE, zone=UTC)
    stack.push_async_callback(store.close)
    file, bell = open_shares(folder, _NAMESPACE, time.time_ns() // 1000)
    stack.callback(file.close)
    stack.callback(bell.close)
    # What is borrowed at once lasts, so the keeper's own work is not measured.
    window = CompiledBudget(_BUDGET).window("", 0, UTC)
    keeper = Keeper(file, bell, _Balance(), _flushed, lease=_LEASE, wanted=lambda _: (1, (window,)))
    stack.push_async_callback(keeper.close)
    await keeper.round()
    shares = SharedBudgets(file, bell)
    stack.callback(shares.close)
    return all_of(
        rate, UseLimits(store, estimator, lambda _scope, _name: None), BudgetLimit(shares, estimator, UTC)
    )


async def _flushed(_timeout: float) -> bool:
    return True
