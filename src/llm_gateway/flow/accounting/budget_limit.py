"""Holds requests to budgets of money: each holds what it may cost, until its cost is known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from typing import Final, Literal

import msgspec

from llm_gateway.core.config.budgets import Covered
from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.limits import BudgetScope
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import GatewayError, QuotaExceeded, Unavailable
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.core.money import usd_text
from llm_gateway.core.pricing.flat_price import FlatPrice, flat_amount
from llm_gateway.flow.accounting.attribution import covering
from llm_gateway.flow.accounting.holds import (
    FRAME_TOKENS,
    LENGTH_FIELDS,
    PROMPT_FIELDS,
    SMALL,
    TOGETHER,
    TokenEstimator,
)
from llm_gateway.flow.accounting.pricing import price_quantities, requested_tier_of
from llm_gateway.flow.ports.budgets import (
    BudgetShares,
    Hold,
    HoldReservation,
    PreparedHold,
    Shortage,
    ShortageReason,
)
from llm_gateway.flow.ports.limits import (
    NOT_LIMITED,
    NOTHING_HELD,
    Demand,
    Limit,
    Reserve,
    Verdict,
    go_on,
    hold_too,
    merged,
    wait_too,
)
from llm_gateway.wire import field_sizes

# Told of every refusal: the scope of the budget, and the reason.
OnRefusal = Callable[[BudgetScope, ShortageReason], None]
# Seconds that a request waits at most until the machine has borrowed more.
_PATIENCE: Final = 2.0
# Deployments whose prices are looked at; the dearest counts.
_MOST_DEPLOYMENTS: Final = 8
# Models of which it is remembered what they cost.
_MOST_STATED: Final = 2048
# Pairs of which it is remembered what applies to them.
_MOST_KNOWN: Final = 4096
# Models of an account that are looked up at once.
_MOST_LATEST: Final = 8
# Models with longer names are looked up each time.
_LONGEST_MODEL: Final = 256
_ALWAYS: Final = 2**63
# More than any budget, and still a sum of 64 bits.
_MOST: Final = 2**60
# Nano-USD: at dearer prices of a token, a request might cost more than that.
_DEAREST: Final = 2**28

# Whether the size of a field is enough to know what it adds to an amount.
_KINDS: Final = {
    endpoint: dict.fromkeys(LENGTH_FIELDS | {"service_tier"}, False) | dict.fromkeys(fields, True)
    for endpoint, fields in PROMPT_FIELDS.items()
}

_OF: Final = {
    "all": "of this gateway",
    "credential": "of this API key",
    "tenant": "of the tenant of this API key",
    "project": "of the project of this API key",
    "agent": "of this agent",
    "user": "of this user",
}
_PERIODS: Final = {"day": "a day", "month": "a month", "total": "in total"}


class _Known(msgspec.Struct):
    """What is the same for all requests of an account for one model, if they begin in a certain time."""

    endpoint: EndpointName
    deployments: Sequence[Deployment]
    # Inclusive, exclusive; Unix microseconds.
    since: int
    until: int
    # What they count in, and what holds in all of that.
    windows: Sequence[Covered]
    # Not used without windows.
    prepared: PreparedHold
    # The different prices of the deployments; none unless all of them are flat at all times.
    prices: Sequence[FlatPrice]
    # What a token of a prompt costs at the one price that all of them have.
    input: int = 0
    # Which fields an amount depends on: those whose size is enough to know, and those that say more.
    kinds: dict[str, bool] = {}
    # What the rest of a prompt and the usual completion cost at that price, and the number of counts after which that
    # was found: none unless there is such a price for small prompts, at which nothing is rounded.
    rest: int = 0
    usual_of: int = -1


class BudgetLimit(Limit):
    """Reserves on all budgets that cover a request, or on none. Never waits for the database."""

    __slots__ = ("_estimator", "_fail", "_known", "_on_refusal", "_shares", "_stated", "_zone")

    def __init__(
        self,
        shares: BudgetShares,
        estimator: TokenEstimator,
        zone: tzinfo,
        *,
        fail: Literal["open", "closed"] = "closed",
        on_refusal: OnRefusal = lambda _scope, _reason: None,
    ) -> None:
        """`fail` says whether requests are admitted while nobody knows what is left of a budget."""
        self._shares = shares
        self._estimator = estimator
        self._zone = zone
        self._fail = fail
        self._on_refusal = on_refusal
        # What requests cost lately according to providers that state it, by provider and upstream model.
        self._stated: dict[tuple[str, str], int] = {}
        # By accounts, which a new configuration replaces, models and endpoints.
        self._known: dict[tuple[Principal, str, str], _Known] = {}

    def check(self, account: Principal, /) -> None:
        """Refuse nothing: what a request may cost is known only with its body."""

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        reserve = self.for_account(account)
        return NOT_LIMITED if reserve is None else reserve(demand)

    def for_account(self, account: Principal, first: Reserve | None = None, /) -> Reserve | None:
        if not account.budgets:
            return first
        # What was known last of a few models of the account.
        latest: dict[str, _Known] = {}
        estimator = self._estimator
        replies = estimator.replies
        own = None if first is None else self.for_account(account)
        weighed = field_sizes.weighed

        # A helper would cost each request a frame.
        def reserve(demand: Demand) -> Verdict | Awaitable[Verdict]:
            verdict = NOT_LIMITED
            if first is not None and own is not None:
                before = first(demand)
                if not isinstance(before, Verdict):
                    return go_on(before, own, demand)
                verdict = before
            try:
                request, held = demand.request, None
                known = latest.get(request.model)
                if (
                    known is None
                    or known.endpoint != request.endpoint
                    or known.deployments is not demand.deployments
                    or not known.since <= demand.created_at < known.until
                    or demand.attribution.is_trusted
                ):
                    return self._reserve_named(account, demand, verdict, latest)
                if known.usual_of == estimator.counted and len(replies) < TOGETHER:
                    # As `estimate` and `amount_of` do for a small prompt, at one price that is flat.
                    try_hold = known.prepared.try_hold
                    held = try_hold(weighed(request.fields, known.kinds, SMALL, known.input, known.rest))
                if held is None:
                    return self._reserve_known(known, demand, verdict)
            except BaseException:
                verdict.reservation.release()
                raise
            if verdict is NOT_LIMITED:
                return Verdict(True, 0, 0, 0.0, 0.0, held)
            if verdict.reservation is NOTHING_HELD:
                verdict.reservation = held
            else:
                hold_too(verdict, held)
            return verdict

        return reserve

    def _reserve_named(
        self, account: Principal, demand: Demand, before: Verdict, latest: dict[str, _Known]
    ) -> Verdict | Awaitable[Verdict]:
        """Reserve for a request of which little is known yet, or that may name anybody."""
        if not demand.attribution.is_trusted:
            return self._reserve_known(self._known_of(account, demand, latest), demand, before)
        windows = covering(account, demand, self._zone)
        if not windows:
            return before
        amount = self.amount_of(demand)
        return self._answered(windows, amount, self._shares.try_hold(windows, amount), before)

    def _reserve_known(self, known: _Known, demand: Demand, before: Verdict) -> Verdict | Awaitable[Verdict]:
        prepared = known.prepared
        if not known.windows:
            return before
        amount = self._flat_amount(known, demand)
        if amount < 0:
            amount = self.amount_of(demand)
        held = prepared.try_hold(amount)
        if held is None:
            answer = prepared.hold(amount)
            if answer is None or isinstance(answer, Shortage):
                return self._answered(known.windows, amount, answer, before)
            held = answer
        return merged(before, Verdict(True, 0, 0, 0.0, 0.0, held))

    def _flat_amount(self, known: _Known, demand: Demand) -> int:
        """Return what `amount_of` does, for prices that are flat; negative where they are not."""
        expected = demand.expected
        if expected is None:
            prompt, completion, _ = self._estimator.estimate(demand)
            self._learn_usual(known)
        else:
            prompt, completion = expected.prompt, expected.completion
        amount = -1
        if "service_tier" in demand.request.fields:
            return amount
        for price in known.prices:
            if prompt > price.most_input:
                return -1
            amount = max(amount, flat_amount(price, prompt, completion))
        return amount

    def _learn_usual(self, known: _Known) -> None:
        """Price the usual completion until another is usual."""
        counted = self._estimator.counted
        if len(known.prices) != 1 or not known.windows or known.usual_of == counted:
            return
        (price,) = known.prices
        kinds = _KINDS[known.endpoint]
        if price.half or price.most_input < FRAME_TOKENS + len(kinds) * SMALL // 4:
            return
        is_without = known.endpoint == "embeddings"
        tokens = 0 if is_without else self._estimator.usual_output(known.deployments[0])
        if tokens is not None:
            known.kinds, known.input = kinds, price.input
            known.rest = FRAME_TOKENS * price.input + tokens * price.output
            known.usual_of = counted

    def _answered(
        self, windows: Sequence[Covered], amount: int, answer: Hold | Shortage | None, before: Verdict
    ) -> Verdict | Awaitable[Verdict]:
        if answer is None or (isinstance(answer, Shortage) and answer.reason == "short"):
            return wait_too(before, self._reserve_later(windows, amount))
        return merged(before, self._verdict(windows, amount, answer))

    def _known_of(self, account: Principal, demand: Demand, latest: dict[str, _Known]) -> _Known:
        """Return what is known for a request, which is the latest of its model from now on."""
        request = demand.request
        known = self._known.get((account, request.model, request.endpoint))
        if (
            known is None
            or known.deployments is not demand.deployments
            or not known.since <= demand.created_at < known.until
        ):
            known = self._remember(account, demand)
        if len(request.model) <= _LONGEST_MODEL:
            if len(latest) >= _MOST_LATEST:
                latest.clear()
            latest[request.model] = known
        return known

    def _remember(self, account: Principal, demand: Demand) -> _Known:
        windows = tuple(covering(account, demand, self._zone))
        at = demand.created_at
        # Until the first of the windows ends, or another budget begins to count.
        ends = [covered.end for covered in windows if covered.end is not None]
        ends += [one.budget.counts_from for one in account.budgets if one.budget.counts_from > at]
        since = max((covered.window.start for covered in windows), default=at)
        request, deployments = demand.request, demand.deployments
        until = min(ends, default=_ALWAYS)
        prepared = self._shares.prepare(windows, self._estimator.learn_once, self.learn)
        prices = _flat_prices(deployments)
        known = _Known(request.endpoint, deployments, since, until, windows, prepared, prices)
        if len(request.model) <= _LONGEST_MODEL:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[account, request.model, request.endpoint] = known
        return known

    def amount_of(self, demand: Demand) -> int:
        """Return what a request may cost, in nano-USD.

        A deployment without a known price counts with what its provider said that the last request cost. 0 if
        nothing is known of any deployment that may serve it.
        """
        expected = demand.expected or self._estimator.expect(demand)
        quantities = {"input_tokens": expected.prompt, "output_tokens": expected.completion}
        stated = demand.request.fields.get("service_tier")
        tier = None if stated is None else requested_tier_of(stated)
        most = 0
        for one in demand.deployments[:_MOST_DEPLOYMENTS]:
            cost = None
            if one.prices is not None:
                cost = price_quantities(quantities, one.prices, demand.created_at, tier).cost_nano_usd
            if cost is None:
                cost = self._stated.get((one.provider_key, one.upstream_model), 0)
            most = max(most, cost)
        return min(most, _MOST)

    def learn(self, record: SettledRequest) -> None:
        """Remember what a provider said that a request cost."""
        if record.cost_source != "provider":
            return
        cost, provider, model = record.cost_nano_usd, record.provider, record.upstream_model
        if cost is None or provider is None or model is None:
            return
        if len(self._stated) >= _MOST_STATED:
            self._stated.clear()
        self._stated[provider, model] = cost

    async def _reserve_later(self, windows: Sequence[Covered], amount: int) -> Verdict:
        return self._verdict(windows, amount, await self._shares.hold(windows, amount, _PATIENCE))

    def _verdict(self, windows: Sequence[Covered], amount: int, answer: Hold | Shortage) -> Verdict:
        if isinstance(answer, Shortage):
            if answer.reason == "spent" or self._fail == "closed":
                self._on_refusal(answer.covered.budget.scope, answer.reason)
                raise refusal(answer, amount)
            answer = self._shares.hold_nothing(windows)
        return Verdict(True, 0, 0, 0.0, 0.0, HoldReservation(answer, self._estimator.learn_once, self.learn))


def _flat_prices(deployments: Sequence[Deployment]) -> Sequence[FlatPrice]:
    """Return the different prices of deployments; none unless all of them are flat at all times, and sane."""
    looked_at = [one.prices for one in deployments[:_MOST_DEPLOYMENTS]]
    flat = [
        None if prices is None or prices.ordinary is None else prices.ordinary.table.flat
        for prices in looked_at
    ]
    if any(one is None or max(one.input, one.output) > _DEAREST * one.divisor for one in flat):
        return ()
    return tuple(dict.fromkeys(price for price in flat if price is not None))


def refusal(shortage: Shortage, amount: int) -> GatewayError:
    """Return the error for a request that may cost `amount`."""
    budget = shortage.covered.budget
    if shortage.reason != "spent":
        return Unavailable(
            f"The gateway cannot tell what is left of the budget '{budget.name}'. Try again shortly.",
            code="budget_unavailable",
            retry_after=1.0,
        )
    limit = usd_text(budget.amount_nano_usd)
    used, held = usd_text(shortage.spent), usd_text(shortage.held)
    left = budget.amount_nano_usd - shortage.spent - shortage.held
    name = f"the budget '{budget.name}' {_OF[budget.scope]}"
    sums = f"{limit} USD {_PERIODS[budget.period]}, {used} USD used, {held} USD held by open requests"
    if left > 0:
        message = (
            f"This request may cost {usd_text(amount)} USD, and {usd_text(left)} USD is left of {name} ({sums}). "
            "Shorten the prompt, send a lower max_tokens, or ask the gateway administrator for a larger budget."
        )
    else:
        until = "" if shortage.covered.end is None else f" It is free again when the {budget.period} ends."
        message = f"T{name[1:]} is used up: {sums}.{until} Ask the gateway administrator for a larger budget."
    return QuotaExceeded(
        message, scope=budget.scope, limit=limit, used=used, held=held, reset_at=shortage.covered.end
    )
