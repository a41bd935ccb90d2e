"""Limits of use: whose apply, what is held for a request, and what a refusal says."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from llm_gateway.core.config.accounts import Principal, Project, Tenant
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import GatewayError, QuotaExceeded, RateLimited
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.rate_limit import rate_limit_headers
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.accounting.use_limit import UseLimits, account_key, limited_accounts
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Limit, Room, Verdict
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from tests.fakes.openai_requests import model_request

DEFAULT = 500


class Store(UseStore):
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: HeldUse | Shortage | None = None, *, waits: bool = False) -> None:
        self.answer = answer or HeldUse("token", Room(10, 9, 60.0), None)
        self.waits = waits
        self.claims: list[Claim] = []
        self.ended: list[tuple[object, int | None]] = []

    def hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage | Awaitable[HeldUse | Shortage]:
        self.claims = list(claims)
        return self._later() if self.waits else self.answer

    async def _later(self) -> HeldUse | Shortage:
        return self.answer

    def settle(self, held: HeldUse, tokens: int) -> None:
        self.ended.append((held.token, tokens))

    def release(self, held: HeldUse) -> None:
        self.ended.append((held.token, None))

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        self.claims = list(claims)
        return self.answer if isinstance(self.answer, Shortage) else None


Refusals = list[tuple[str, str]]


def make(store: Store, refusals: Refusals | None = None) -> UseLimits:
    def refused(scope: str, name: str) -> None:
        if refusals is not None:
            refusals.append((scope, name))

    return UseLimits(store, TokenEstimator(DEFAULT), refused)


def principal(limits: dict[str, int] | None = None, **more: Any) -> Principal:
    tenant, project = more.pop("of_tenant", None), more.pop("of_project", None)
    credential = Credential(
        id=7, name="c", key_hash=b"", limits=None if limits is None else Limits(**limits), **more
    )
    return Principal(credential, tenant, project)


def demand(attribution: Attribution = NO_ATTRIBUTION, **fields: Any) -> Demand:
    return Demand(model_request(**fields), 0, 0, attribution)


def refusal(store: Store, account: Principal, wanted: Demand | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        make(store).reserve(account, wanted or demand())
    return caught.value


def test_an_account_without_limits_costs_the_store_nothing() -> None:
    store = Store()
    assert make(store).reserve(principal(), demand()) is NOT_LIMITED
    make(store).check(principal())
    assert store.claims == []
    assert not principal().is_limited


def test_limits_of_the_credential_its_tenant_and_its_project_apply_by_id() -> None:
    account = principal(
        {"requests_per_day": 1},
        of_tenant=Tenant(id=3, name="t", limits=Limits(requests_per_day=2)),
        of_project=Project(id=4, name="p", limits=Limits(requests_per_day=3)),
    )
    found = limited_accounts(account, NO_ATTRIBUTION)
    assert [(one.scope, one.subject, one.limits.requests_per_day) for one in found] == [
        ("credential", "7", 1),
        ("tenant", "3", 2),
        ("project", "4", 3),
    ]
    assert account.is_limited


def test_agents_and_users_have_limits_where_their_names_are_trusted() -> None:
    limits: dict[str, Any] = {
        "agent_limits": Limits(requests_per_day=1),
        "user_limits": Limits(requests_per_day=2),
    }
    named = Attribution(agent="a", user="u")
    trusted = Attribution(agent="a", user="u", is_trusted=True)
    both = [("agent", "7/a"), ("user", "7/u")]
    for account, attribution, expected in (
        (principal(**limits), named, []),
        (principal(**limits), trusted, both),
        (principal(trusts_attribution=True, **limits), named, both),
        (principal(trusts_attribution=True, **limits), Attribution(user="u"), both[1:]),
        (principal(trusts_attribution=True, **limits), NO_ATTRIBUTION, []),
    ):
        assert account.is_limited is account.credential.trusts_attribution
        found = limited_accounts(account, attribution)
        assert [(one.scope, one.subject) for one in found] == expected


def test_keys_tell_accounts_apart() -> None:
    keys = [account_key(scope, subject) for scope in ("agent", "user") for subject in ("1/a", "1/b", "11/a")]
    assert len(set(keys)) == 6
    assert all(0 < key < 1 << 63 for key in keys)
    assert account_key("user", "\udcff")


@pytest.mark.parametrize(
    ("limits", "fields", "tokens"),
    [
        ({"requests_per_day": 5}, {"max_tokens": 50}, 0),
        ({"tokens_per_minute": 10_000}, {"max_tokens": 50}, 53),
        ({"tokens_per_day": 10_000}, {}, 3 + DEFAULT),
        # A guess is never larger than the limit; what a client states may be.
        ({"tokens_per_day": 100}, {}, 100),
        ({"tokens_per_day": 1000, "tokens_per_minute": 50}, {}, 50),
        ({"tokens_per_day": 100}, {"max_tokens": 900}, 903),
        ({"tokens_per_minute": 2}, {}, 3),
        ({"tokens_per_minute": 10_000}, {"max_tokens": -5}, 3 + DEFAULT),
        ({"tokens_per_minute": 10_000}, {"max_tokens": 10**12}, 3 + DEFAULT),
    ],
)
def test_tokens_are_held_as_far_as_a_limit_needs_them(
    limits: dict[str, int], fields: dict[str, Any], tokens: int
) -> None:
    store = Store()
    make(store).reserve(principal(limits), demand(**fields))
    assert [claim.tokens for claim in store.claims] == [tokens]


@pytest.mark.parametrize("waits", [False, True])
async def test_what_is_held_ends_once_as_the_record_says(waits: bool) -> None:
    store = Store(HeldUse("token", Room(10, 9, 60.0), Room(100, 40, 30.0)), waits=waits)
    answer = make(store).reserve(principal({"tokens_per_day": 100}), demand())
    verdict = answer if isinstance(answer, Verdict) else await answer
    assert rate_limit_headers(verdict) == (
        (b"x-ratelimit-limit-requests", b"10"),
        (b"x-ratelimit-remaining-requests", b"9"),
        (b"x-ratelimit-reset-requests", b"60000ms"),
        (b"x-ratelimit-limit-tokens", b"100"),
        (b"x-ratelimit-remaining-tokens", b"40"),
        (b"x-ratelimit-reset-tokens", b"30000ms"),
    )
    record = UsageRecord("id", 0, "/v1", "POST", False, 200, "ok", prompt_tokens=3, completion_tokens=4)
    verdict.reservation.settle(record)
    verdict.reservation.release()
    assert store.ended == [("token", 7), ("token", None)]


def test_a_reply_shows_the_limits_that_are_nearest_to_their_end() -> None:
    class Fixed(Limit):
        def __init__(self, limit: int, remaining: int, tokens: Room | None = None) -> None:
            self._verdict = Verdict(True, limit, remaining, 0.0, 1.0, tokens=tokens)

        def check(self, account: Principal, /) -> None:
            pass

        def reserve(self, account: Principal, demand: Demand, /) -> Verdict:
            return self._verdict

    limits = all_of(Fixed(9, 5, Room(50, 7, 1.0)), Fixed(0, 0), Fixed(8, 2), Fixed(7, 3, Room(60, 6, 2.0)))
    verdict = limits.reserve(principal(), demand())
    assert isinstance(verdict, Verdict)
    assert (verdict.limit, verdict.remaining, verdict.tokens) == (8, 2, Room(60, 6, 2.0))
    shows_nothing = all_of(Fixed(0, 0), Fixed(0, 0)).reserve(principal(), demand())
    assert isinstance(shows_nothing, Verdict)
    assert rate_limit_headers(shows_nothing) == ()


@pytest.mark.parametrize(("wait", "told"), [(0.2, 1.0), (17.0, 17.0), (61.0, 60.0)])
def test_a_full_window_is_waited_for(wait: float, told: float) -> None:
    store = Store(Shortage(0, "requests_per_minute", 5, 5, 0, wait))
    error = refusal(store, principal({"requests_per_minute": 5}))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.waiting_helps) == (told, True)
    assert error.message == "Limit reached: 5 requests per minute for this API key. Try again shortly."
    assert dict(error.headers)[b"x-ratelimit-remaining-requests"] == b"0"


def test_concurrency_and_tokens_say_what_is_held() -> None:
    store = Store(Shortage(0, "tokens_per_minute", 50, 20, 25, 3.0))
    error = refusal(store, principal({"tokens_per_minute": 50}))
    assert error.message == (
        "This request may use 503 tokens, and 5 are left of 50 tokens per minute for this API key (20 used, 25 held "
        "by open requests). Try again shortly."
    )
    store = Store(Shortage(0, "tokens_per_minute", 50, 25, 25, 3.0))
    error = refusal(store, principal({"tokens_per_minute": 50}))
    assert error.message.startswith("Limit reached: 50 tokens per minute for this API key (25 used")
    store = Store(Shortage(0, "concurrent_requests", 5, 0, 5, 1.0))
    assert "5 concurrent requests" in refusal(store, principal({"concurrent_requests": 5})).message


def test_a_day_is_a_quota() -> None:
    account = principal(
        {"requests_per_day": 5}, of_tenant=Tenant(id=3, name="t", limits=Limits(tokens_per_day=9))
    )
    store = Store(Shortage(1, "tokens_per_day", 9, 8, 1, 3600.0, 1_800_000_000_000_000))
    error = refusal(store, account)
    assert isinstance(error, QuotaExceeded)
    assert error.details == {
        "scope": "tenant",
        "limit": 9,
        "used": 8,
        "held": 1,
        "reset_at": "2027-01-15T08:00:00Z",
    }
    assert error.waiting_helps is False


def test_a_day_that_nobody_knows_is_no_quota() -> None:
    """With LIMITS_FAIL=closed, while Redis is away."""
    store = Store(Shortage(0, "requests_per_day", 5, 0, 0, 1.0))
    error = refusal(store, principal({"requests_per_day": 5}))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 1.0
    assert error.message == (
        "The gateway cannot tell what is used of the limit of 5 requests per day for this API key. Try again shortly."
    )


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_a_limit_of_nothing_is_refused_before_the_body_is_read(name: str) -> None:
    refusals: Refusals = []
    account = principal({name: 0})
    assert account.is_shut
    with pytest.raises(GatewayError, match="blocked") as caught:
        make(Store(), refusals).check(account)
    assert caught.value.status == 429
    assert caught.value.waiting_helps is False
    assert isinstance(caught.value, QuotaExceeded) is name.endswith("per_day")
    assert refusals == [("credential", name)]


def test_a_check_refuses_what_is_full_already() -> None:
    store = Store(Shortage(0, "requests_per_minute", 5, 5, 0, 3.0))
    with pytest.raises(RateLimited):
        make(store).check(principal({"requests_per_minute": 5}))
    make(Store()).check(principal({"requests_per_minute": 5}))


def test_a_request_larger_than_the_limit_is_told_so() -> None:
    store = Store(Shortage(0, "tokens_per_minute", 50, 0, 0, None))
    error = refusal(store, principal({"tokens_per_minute": 50}), demand(max_tokens=100))
    assert error.message.startswith(
        "This request may use 103 tokens, and this API key has a limit of 50 tokens"
    )
    assert error.waiting_helps is False
