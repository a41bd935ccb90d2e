"""Limits of use: requests and tokens per second, minute and day, and concurrent requests."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple

import msgspec

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.config.limits import BudgetScope, Limits, allows_nothing
from llm_gateway.core.errors import GatewayError, QuotaExceeded, RateLimited
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.rate_limit import rate_limit_headers
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.limits import (
    NOT_LIMITED,
    Demand,
    ExpectedTokens,
    Limit,
    Reserve,
    Room,
    Verdict,
    go_on,
    hold_too,
    wait_too,
)
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, LimitName, Shortage, UseStore

# Told of every refusal: the scope and the name of the limit.
OnRefusal = Callable[[BudgetScope, LimitName], None]
# Seconds: OpenAI's SDKs ignore a longer Retry-After.
_LONGEST_WAIT = 60.0
_MOST_KNOWN = 4096
# For the check before a body is read: any request uses something.
_ANY_REQUEST: Final = ExpectedTokens(1, 0, True)

_OF: Final[dict[BudgetScope, str]] = {
    "credential": "this API key",
    "tenant": "the tenant of this API key",
    "project": "the project of this API key",
    "agent": "this agent",
    "user": "this user",
}
_UNITS: Final[dict[LimitName, str]] = {
    "requests_per_second": "requests per second",
    "requests_per_minute": "requests per minute",
    "requests_per_day": "requests per day",
    "tokens_per_minute": "tokens per minute",
    "tokens_per_day": "tokens per day",
    "concurrent_requests": "concurrent requests",
}


class LimitedAccount(NamedTuple):
    """One of those whose limits hold for a request. `subject` identifies it within its scope."""

    scope: BudgetScope
    subject: str
    limits: Limits


# Returns whose limits hold for a request of the account.
AccountsOf = Callable[[Principal, Attribution], Sequence[LimitedAccount]]


class _Known(NamedTuple):
    """What is the same for all requests of an account, unless it depends on the request."""

    account: Principal
    accounts: Sequence[LimitedAccount]
    claims: Sequence[Claim]
    # Whether requests name accounts; and whether any limit is on tokens, which are each request's own.
    depends_on_request: bool
    limits_tokens: bool


class UseLimits(Limit):
    """Holds requests to all limits of use of their accounts together, in one store."""

    __slots__ = ("_accounts_of", "_estimator", "_known", "_on_refusal", "_store")

    def __init__(
        self,
        store: UseStore,
        estimator: TokenEstimator,
        on_refusal: OnRefusal,
        accounts_of: AccountsOf | None = None,
    ) -> None:
        """`accounts_of` returns whose limits hold for a request; None = those of the configuration."""
        self._accounts_of = accounts_of or limited_accounts
        # By the ids of accounts, which a new configuration replaces.
        self._known: dict[int, _Known] = {}
        self._store = store
        self._estimator = estimator
        self._on_refusal = on_refusal

    def check(self, account: Principal, /) -> None:
        accounts = self._accounts_of(account, NO_ATTRIBUTION)
        if not accounts:
            return
        for one in accounts:
            if allows_nothing(one.limits):
                name = next(name for name in _UNITS if getattr(one.limits, name) == 0)
                raise self._refused(one, Shortage(0, name, 0, 0, 0, None), _ANY_REQUEST)
        shortage = self._store.shortage(_claims(accounts, _ANY_REQUEST))
        if shortage is not None:
            raise self._refused(accounts[shortage.position], shortage, _ANY_REQUEST)

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        known = self._known.get(id(account))
        if known is None or known.account is not account:
            known = self._remember(account)
        accounts, claims, expected = known.accounts, known.claims, _ANY_REQUEST
        if not (accounts or known.depends_on_request):
            return NOT_LIMITED
        if known.depends_on_request:
            accounts = self._accounts_of(account, demand.attribution)
            if any(map(_limits_tokens, accounts)):
                expected = self._estimator.expect(demand)
            if not accounts:
                return NOT_LIMITED
            claims = _claims(accounts, expected)
        elif known.limits_tokens:
            expected = self._estimator.expect(demand)
            claims = [Claim(key, limits, _tokens_to_hold(limits, expected)) for key, limits, _ in claims]
        answer = self._store.hold(claims)
        if isinstance(answer, (HeldUse, Shortage)):
            return self._verdict(accounts, expected, answer)
        return self._reserve_later(accounts, expected, answer)

    def for_account(  # noqa: C901 - see below
        self, account: Principal, first: Reserve | None = None, /
    ) -> Reserve | None:
        known = self._remember(account)
        accounts, claims, limits_tokens = known.accounts, known.claims, known.limits_tokens
        if known.depends_on_request:
            return Limit.for_account(self, account, first)
        if not accounts:
            return first
        store, estimator = self._store, self._estimator
        own = partial(self.reserve, account)

        # As `in_turn` does with `reserve`, and `merged`, without their frames.
        def reserve(demand: Demand) -> Verdict | Awaitable[Verdict]:
            verdict = NOT_LIMITED
            if first is not None:
                before = first(demand)
                if not isinstance(before, Verdict):
                    return go_on(before, own, demand)
                verdict = before
            try:
                expected, claimed = _ANY_REQUEST, claims
                if limits_tokens:
                    expected = demand.expected or estimator.expect(demand)
                    claimed = [
                        Claim(key, limits, _tokens_to_hold(limits, expected)) for key, limits, _ in claims
                    ]
                answer = store.hold(claimed)
                if not isinstance(answer, HeldUse):
                    if not isinstance(answer, Shortage):
                        return wait_too(verdict, self._reserve_later(accounts, expected, answer))
                    raise self._refused(accounts[answer.position], answer, expected)
            except BaseException:
                verdict.reservation.release()
                raise
            if verdict is NOT_LIMITED:
                return self._verdict(accounts, expected, answer)
            requests, tokens = answer.requests, answer.tokens
            if requests is not None:
                remaining = requests.remaining
                if requests.limit and (remaining < verdict.remaining or not verdict.limit):
                    verdict.limit, verdict.remaining = requests.limit, remaining
                    verdict.retry_after, verdict.reset_after = 0.0, requests.reset_after
            if tokens is not None and (verdict.tokens is None or tokens.remaining < verdict.tokens.remaining):
                verdict.tokens = tokens
            hold_too(verdict, _Held(store, estimator, answer))
            return verdict

        return reserve

    def _remember(self, account: Principal) -> _Known:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        accounts = self._accounts_of(account, NO_ATTRIBUTION)
        credential = account.credential
        has_names = credential.agent_limits is not None or credential.user_limits is not None
        known = self._known[id(account)] = _Known(
            account,
            accounts,
            _claims(accounts, _ANY_REQUEST),
            has_names or self._accounts_of is not limited_accounts,
            any(map(_limits_tokens, accounts)),
        )
        return known

    async def _reserve_later(
        self,
        accounts: Sequence[LimitedAccount],
        expected: ExpectedTokens,
        waiting: Awaitable[HeldUse | Shortage],
    ) -> Verdict:
        return self._verdict(accounts, expected, await waiting)

    def _verdict(
        self, accounts: Sequence[LimitedAccount], expected: ExpectedTokens, answer: HeldUse | Shortage
    ) -> Verdict:
        if isinstance(answer, Shortage):
            raise self._refused(accounts[answer.position], answer, expected)
        requests = answer.requests or _NOTHING_TO_SHOW
        return Verdict(
            True,
            requests.limit,
            requests.remaining,
            0.0,
            requests.reset_after,
            _Held(self._store, self._estimator, answer),
            answer.tokens,
        )

    def _refused(self, account: LimitedAccount, shortage: Shortage, expected: ExpectedTokens) -> GatewayError:
        self._on_refusal(account.scope, shortage.name)
        return refusal(account, shortage, expected)


# A struct is made several times as fast as an object with an `__init__`. It is part of no cycle (gc=False).
class _Held(msgspec.Struct, gc=False):
    """Implements the `Reservation` port. Counts tokens, but not requests, anew when the request ends."""

    store: UseStore
    estimator: TokenEstimator
    held: HeldUse

    def settle(self, record: SettledRequest) -> None:
        self.estimator.learn(record)
        self.store.settle(self.held, used_tokens(record))

    def release(self) -> None:
        self.store.release(self.held)


_NOTHING_TO_SHOW: Final = Room(0, 0, 0.0)


def used_tokens(record: SettledRequest) -> int:
    """Return how many tokens a request used, as far as that is known."""
    if record.total_tokens is not None:
        return record.total_tokens
    return (record.prompt_tokens or 0) + (record.completion_tokens or 0)


def limited_accounts(account: Principal, attribution: Attribution) -> Sequence[LimitedAccount]:
    """Return whose limits hold for a request of `account`."""
    found = [LimitedAccount(one.scope, str(one.id), one.limits) for one in account.limits]
    credential = account.credential
    if attribution.is_trusted or credential.trusts_attribution:
        # Each credential's agents and users are its own.
        if credential.agent_limits is not None and attribution.agent is not None:
            subject = f"{credential.id}/{attribution.agent}"
            found.append(LimitedAccount("agent", subject, credential.agent_limits))
        if credential.user_limits is not None and attribution.user is not None:
            subject = f"{credential.id}/{attribution.user}"
            found.append(LimitedAccount("user", subject, credential.user_limits))
    return found


@lru_cache(maxsize=16_384)
def account_key(scope: str, subject: str) -> int:
    """Return the number that identifies an account in stores: positive, below 2^63."""
    digest = hashlib.blake2b(f"{scope}\0{subject}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1


def _claims(accounts: Sequence[LimitedAccount], expected: ExpectedTokens) -> list[Claim]:
    return [
        Claim(account_key(one.scope, one.subject), one.limits, _tokens_to_hold(one.limits, expected))
        for one in accounts
    ]


def _limits_tokens(account: LimitedAccount) -> bool:
    return account.limits.tokens_per_minute is not None or account.limits.tokens_per_day is not None


def _tokens_to_hold(limits: Limits, expected: ExpectedTokens) -> int:
    """Return what to hold; a completion that is only guessed never makes a request larger than the limit itself."""
    per_minute, per_day = limits.tokens_per_minute, limits.tokens_per_day
    if per_minute is None and per_day is None:
        return 0
    total = expected.prompt + expected.completion
    if expected.is_stated:
        return total
    if per_minute is not None and total > per_minute:
        total = per_minute
    if per_day is not None and total > per_day:
        total = per_day
    return max(total, expected.prompt)


def refusal(account: LimitedAccount, shortage: Shortage, expected: ExpectedTokens) -> GatewayError:
    """Return the error for a request that falls short."""
    limit, name = shortage.limit, shortage.name
    whose, what = _OF[account.scope], f"{shortage.limit} {_UNITS[shortage.name]}"
    is_too_large = shortage.wait is None and limit > 0
    if limit == 0:
        message = f"Requests of {whose} are blocked: the limit is {what}. Ask the gateway administrator."
    elif is_too_large:
        message = (
            f"This request may use {expected.total} tokens, and {whose} has a limit of {what}. "
            "Shorten the prompt, or lower the number of tokens to generate."
        )
    else:
        left = limit - shortage.used - shortage.held
        if left == limit:
            # The store has failed; a request that is not too large would have passed.
            message = f"The gateway cannot tell what is used of the limit of {what} for {whose}"
        elif name.startswith("tokens") and left > 0:
            message = (
                f"This request may use {expected.total} tokens, and {left} are left of {what} for {whose}"
            )
        else:
            message = f"Limit reached: {what} for {whose}"
        message += (
            f" ({shortage.used} used, {shortage.held} held by open requests)." if shortage.held else "."
        )
    # Without a reset nobody knows what is used of the day.
    if name.endswith("per_day") and (shortage.reset_at or shortage.wait is None):
        return QuotaExceeded(
            message if limit == 0 or is_too_large else f"{message} It is free again when the day ends.",
            scope=account.scope,
            limit=limit,
            used=shortage.used,
            held=shortage.held,
            reset_at=shortage.reset_at or None,
        )
    if shortage.wait is None:
        error = RateLimited(message)
        error.waiting_helps = False
        return error
    wait = min(max(shortage.wait, 1.0), _LONGEST_WAIT)
    error = RateLimited(f"{message} Try again shortly.", retry_after=wait)
    if name.startswith("requests"):
        error.headers = rate_limit_headers(Verdict(False, limit, 0, wait, shortage.wait))
    return error
