"""Requests hold what they may cost on all budgets that cover them, and are refused with the numbers that count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.accounts import PING_ACCOUNT, Principal
from llm_gateway.core.config.budgets import BudgetIndex, BudgetWindow, Covered, Spender
from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.errors import QuotaExceeded, Unavailable
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.flow.accounting.attribution import spender_of
from llm_gateway.flow.accounting.budget_limit import BudgetLimit, refusal
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.pricing import price_quantities
from llm_gateway.flow.ports.budgets import BudgetShares, Hold, Shortage, ShortageReason
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.limits import NOT_LIMITED, NOTHING_HELD, Demand, Verdict
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.in_memory import credential
from tests.fakes.prices import CHEAP, DEAR, prices_of, unknown
from tests.fakes.usage_records import record

USD = 1_000_000_000
NOW = 1_795_910_400_000_000


class Shares(BudgetShares, Hold):
    """Answers every request with `answers` in turn, then with itself as the hold."""

    def __init__(self, *answers: Shortage | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[tuple[BudgetWindow, ...], int]] = []
        self.waited: list[float] = []
        self.blind: list[tuple[BudgetWindow, ...]] = []
        self.ends: list[int | None] = []

    def try_hold(self, windows: Sequence[Covered], amount: int) -> Hold | Shortage | None:
        self.asked.append((keys(windows), amount))
        return self.answers.pop(0) if self.answers else self

    async def hold(self, windows: Sequence[Covered], amount: int, timeout: float) -> Hold | Shortage:
        self.waited.append(timeout)
        answer = self.try_hold(windows, amount)
        assert answer is not None
        return answer

    def hold_nothing(self, windows: Sequence[Covered]) -> Hold:
        self.blind.append(keys(windows))
        return self

    def settle(self, cost_nano_usd: int) -> None:
        self.ends.append(cost_nano_usd)

    def release(self) -> None:
        self.ends.append(None)


def keys(windows: Sequence[Covered]) -> tuple[BudgetWindow, ...]:
    return tuple(covered.window for covered in windows)


def budget(**changes: Any) -> Budget:
    values: dict[str, Any] = {
        "id": 1,
        "name": "team",
        "scope": "all",
        "amount_nano_usd": 2_500_000_000,
        "period": "day",
        "counts_from": 0,
    }
    return Budget(**{**values, **changes})


def account(*budgets: Budget, **fields: Any) -> Principal:
    one = credential(**fields)
    index = BudgetIndex(budgets)
    spender = Spender(one.name, one.tenant, one.project)
    return Principal(one, budgets=index.candidates(spender, any_name=one.trusts_attribution))


def deployment(prices: Any) -> Deployment:
    return Deployment(
        provider_id=1,
        provider_key="p",
        kind="openai",
        base_url="http://x",
        secret=None,
        upstream_model="u",
        weight=1,
        stream_usage=False,
        prices=prices,
    )


def demand(*prices: Any, attribution: Attribution = NO_ATTRIBUTION, **fields: Any) -> Demand:
    fields = {"messages": [{"role": "user", "content": "x" * 100}], "max_tokens": 10, **fields}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    able = tuple(map(deployment, prices or (prices_of(CHEAP),)))
    request = ModelRequest("chat/completions", "m", False, False, raw)
    return Demand(request, NOW, 0, attribution, able[0], able)


def limit(shares: Shares, fail: Any = "closed", refusals: Any = None) -> BudgetLimit:
    told = refusals if refusals is not None else []
    return BudgetLimit(shares, TokenEstimator(1000), UTC, fail=fail, on_refusal=lambda *one: told.append(one))


def reserve(one: BudgetLimit, who: Principal, what: Demand) -> Verdict:
    answer = one.reserve(who, what)
    assert isinstance(answer, Verdict)
    return answer


def test_an_account_without_a_budget_asks_nobody() -> None:
    shares = Shares()
    assert limit(shares).reserve(account(), demand()) is NOT_LIMITED
    assert limit(shares).reserve(account(budget(models=("other",))), demand()) is NOT_LIMITED
    assert shares.asked == []


def test_all_budgets_that_cover_a_request_are_asked_together() -> None:
    shares = Shares()
    who = account(
        budget(id=1), budget(id=2, scope="tenant", subject="t"), budget(id=3, scope="agent"),
        budget(id=4, scope="credential", subject="another"), tenant="t", trusts_attribution=True,
    )  # fmt: skip
    reserve(limit(shares), who, demand(attribution=Attribution(agent="a", is_trusted=True)))
    assert [(window.budget_id, window.subject) for window in shares.asked[0][0]] == [
        (1, ""),
        (2, ""),
        (3, "a"),
    ]
    # A name that nobody vouches for opens no budget.
    reserve(limit(shares), who, demand(attribution=Attribution(agent="a")))
    assert [window.budget_id for window in shares.asked[1][0]] == [1, 2]


def test_windows_follow_the_time_the_model_and_the_configuration() -> None:
    day, shares = 86_400_000_000, Shares()
    one, who = limit(shares), account(budget(id=1), budget(id=2, period="total", counts_from=NOW + 5))
    begins = NOW - NOW % day
    for at, model in (
        (NOW, "m"),
        (NOW + 4, "m"),
        (NOW + 5, "m"),
        (NOW + day, "m"),
        (NOW, "m"),
        (NOW, "other"),
    ):
        what = demand()
        what.created_at, what.request.model = at, model
        reserve(one, who, what)
    assert [keys_of for keys_of, _ in shares.asked] == [
        (BudgetWindow(1, "", begins),),
        (BudgetWindow(1, "", begins),),
        (BudgetWindow(1, "", begins), BudgetWindow(2, "", NOW + 5)),
        (BudgetWindow(1, "", begins + day), BudgetWindow(2, "", NOW + 5)),
        (BudgetWindow(1, "", begins),),
        (BudgetWindow(1, "", begins),),
    ]
    # The same credential, by another configuration.
    reserve(one, account(budget(id=3, period="total")), demand())
    assert shares.asked[-1][0] == (BudgetWindow(3, "", 0),)
    assert one.reserve(account(budget(models=("m",), id=4)), demand()) is not NOT_LIMITED
    other = demand()
    other.request.model = "other"
    assert one.reserve(account(budget(models=("m",), id=4)), other) is NOT_LIMITED


def test_names_of_trusted_callers_are_read_each_time() -> None:
    shares = Shares()
    one, who = limit(shares), account(budget(scope="user"), trusts_attribution=True)
    for user in ("ada", "bob", "ada"):
        reserve(one, who, demand(attribution=Attribution(user=user, is_trusted=True)))
    assert [windows[0].subject for windows, _ in shares.asked] == ["ada", "bob", "ada"]
    assert one.reserve(who, demand(attribution=Attribution(user="ada"))) is NOT_LIMITED


def test_a_change_of_prices_counts_at_once() -> None:
    one = limit(Shares())
    cheap = one.amount_of(demand(prices_of(CHEAP)))
    assert one.amount_of(demand(prices_of(DEAR))) == 10 * cheap
    assert one.amount_of(demand(prices_of(CHEAP))) == cheap


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_amount_is_that_of_the_whole_table(size: int) -> None:
    """Also beyond the first tier, where prices are not flat any more."""
    one, tiered = (
        limit(Shares()),
        DeploymentPrices(shipped_price_book().schedule("google", "gemini-2.5-pro"), "1"),
    )
    what = demand(prices_of(CHEAP), tiered, messages="x" * size, max_tokens=7)
    expected = TokenEstimator(1000).expect(what)
    quantities = {"input_tokens": expected.prompt, "output_tokens": 7}
    costs = [
        price_quantities(quantities, one.prices, NOW).cost_nano_usd or 0
        for one in what.deployments
        if one.prices
    ]
    assert one.amount_of(what) == max(costs) > 0


def test_the_dearest_deployment_is_held() -> None:
    one = limit(Shares())
    cheap, dear = one.amount_of(demand(prices_of(CHEAP))), one.amount_of(demand(prices_of(DEAR)))
    assert dear == 10 * cheap > 0
    assert one.amount_of(demand(prices_of(CHEAP), prices_of(DEAR), unknown(), None)) == dear
    assert one.amount_of(demand(unknown(), None)) == 0


def test_a_dearer_tier_is_held() -> None:
    one = limit(Shares())
    tiered = prices_of(CHEAP, tiers={"priority": DEAR})
    plain, priority = one.amount_of(demand(tiered)), one.amount_of(demand(tiered, service_tier="priority"))
    assert priority == 10 * plain


@pytest.mark.parametrize("stated", [-5, 0, 10**30, None, "many", 1.5])
def test_a_senseless_max_tokens_is_as_good_as_none(stated: Any) -> None:
    one = limit(Shares())
    without = one.amount_of(demand(max_tokens=None))
    assert one.amount_of(demand(max_tokens=stated)) == without > one.amount_of(demand())


def test_a_request_settles_with_its_cost_or_gives_everything_back() -> None:
    shares = Shares()
    one = limit(shares)
    reserve(one, account(budget()), demand()).reservation.settle(record("r", cost_nano_usd=42))
    reserve(one, account(budget()), demand()).reservation.settle(record("s", cost_nano_usd=None))
    reserve(one, account(budget()), demand()).reservation.release()
    assert shares.ends == [42, 0, None]


def shortage(reason: ShortageReason, one: Budget) -> Shortage:
    day = 86_400_000_000
    return Shortage(Covered(one, BudgetWindow(1, "", NOW), NOW + day), reason, 2_400_000_000, 90_000_000)


def test_a_used_up_budget_is_a_quota() -> None:
    refusals: list[Any] = []
    one = budget(scope="tenant", subject="t")
    with pytest.raises(QuotaExceeded) as caught:
        limit(Shares(shortage("spent", one)), "open", refusals).reserve(account(one, tenant="t"), demand())
    error = caught.value
    assert error.details == {
        "scope": "tenant", "limit": "2.5", "used": "2.4", "held": "0.09", "reset_at": "2026-11-30T00:00:00Z",
    }  # fmt: skip
    assert error.status == 429
    assert error.waiting_helps is False
    assert "'team'" in error.message
    assert refusals == [("tenant", "spent")]


def told(spent: int, held: int, may_cost: int, end: int | None = None, **changes: Any) -> str:
    one = budget(amount_nano_usd=100 * USD, scope="credential", subject="k", **changes)
    window = Covered(one, BudgetWindow(1, "", 0), end)
    return refusal(Shortage(window, "spent", spent, held), may_cost).message


def test_a_request_that_is_too_dear_is_told_what_is_left() -> None:
    assert told(97 * USD, 2 * USD, 3 * USD, period="total") == (
        "This request may cost 3 USD, and 1 USD is left of the budget 'team' of this API key (100 USD in total, "
        "97 USD used, 2 USD held by open requests). Shorten the prompt, send a lower max_tokens, or ask the gateway "
        "administrator for a larger budget."
    )


@pytest.mark.parametrize(("spent", "held"), [(100, 0), (98, 2), (130, 0)])
def test_a_budget_that_is_used_up_is_called_so(spent: int, held: int) -> None:
    assert told(spent * USD, held * USD, 1, end=1, period="month") == (
        f"The budget 'team' of this API key is used up: 100 USD a month, {spent} USD used, {held} USD held by open "
        "requests. It is free again when the month ends. Ask the gateway administrator for a larger budget."
    )
    assert "again" not in told(spent * USD, held * USD, 1, period="total")


def test_a_model_without_a_price_holds_what_its_provider_said_last() -> None:
    one = limit(Shares())
    reserved = reserve(one, account(budget()), demand(None)).reservation
    names = {"provider": "p", "upstream_model": "u"}
    one.learn(record("r", cost_nano_usd=9, cost_source="catalog", **names))
    one.learn(record("r", cost_nano_usd=None, cost_source="provider", **names))
    assert one.amount_of(demand(None)) == 0
    reserved.settle(record("r", cost_nano_usd=7, cost_source="provider", **names))
    assert one.amount_of(demand(None)) == one.amount_of(demand(unknown())) == 7
    one.learn(record("r", cost_nano_usd=5, cost_source="provider", **names))
    assert one.amount_of(demand(None)) == 5


async def test_a_short_share_is_waited_for() -> None:
    for first in (None, shortage("short", budget())):
        shares = Shares(first)
        answer = limit(shares).reserve(account(budget()), demand())
        assert not isinstance(answer, Verdict)
        assert (await answer).allowed
        assert shares.waited == [2.0]


def test_while_nobody_knows_what_is_left_the_setting_decides() -> None:
    one = budget()
    with pytest.raises(Unavailable) as caught:
        limit(Shares(shortage("unavailable", one))).reserve(account(one), demand())
    assert (caught.value.status, caught.value.code) == (503, "budget_unavailable")
    shares = Shares(shortage("unavailable", one))
    verdict = reserve(limit(shares, "open"), account(one), demand())
    verdict.reservation.settle(record("r", cost_nano_usd=7))
    assert (len(shares.blind), shares.ends) == (1, [7])


def test_s1_19_a_project_that_a_user_names_is_no_budget_s() -> None:
    stated = Attribution(project="web", user="ada", is_trusted=True)
    assert spender_of(Principal(PING_ACCOUNT), stated) == Spender("surface:ping", user="ada")
    own = msgspec.structs.replace(PING_ACCOUNT, project="ours")
    assert spender_of(Principal(own), stated) == Spender("surface:ping", project="ours", user="ada")
    other = msgspec.structs.replace(PING_ACCOUNT, name="trusting")
    assert spender_of(Principal(other), stated).project == "web"


class Earlier:
    """A limit that is asked before: it holds something, or has to be waited for."""

    def __init__(self, *, waits: bool = False, holds: bool = True) -> None:
        self.waits = waits
        self.ends: list[str] = []
        self.reservation: Any = self if holds else NOTHING_HELD

    def __call__(self, demand: Demand) -> Any:
        del demand
        return self.later() if self.waits else self.verdict()

    async def later(self) -> Verdict:
        return self.verdict()

    def verdict(self) -> Verdict:
        return Verdict(True, 5, 4, 0.0, 1.0, self.reservation)

    def settle(self, record: Any) -> None:
        del record
        self.ends.append("settled")

    def release(self) -> None:
        self.ends.append("released")


async def asked(one: BudgetLimit, who: Principal, first: Any, what: Demand) -> Verdict:
    together = one.for_account(who, first)
    assert together is not None
    answer = together(what)
    return answer if isinstance(answer, Verdict) else await answer


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("answer", ["held", "short"])
async def test_it_is_reserved_after_the_limits_before_it(answer: str, waits: bool, holds: bool) -> None:
    shares = Shares(*([shortage("short", budget())] if answer == "short" else []))
    one, who, first = limit(shares), account(budget()), Earlier(waits=waits, holds=holds)
    verdict = await asked(one, who, first, demand())
    assert (verdict.limit, verdict.remaining) == (5, 4)
    verdict.reservation.settle(record("r", cost_nano_usd=3))
    assert (shares.ends, first.ends) == ([3], ["settled"] * holds)
    (await asked(one, who, first, demand())).reservation.release()
    assert (shares.ends, first.ends) == ([3, None], ["settled", "released"] * holds)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("answers", [("spent",), ("short", "spent"), ("unavailable",), ("short", "short")])
async def test_a_refusal_gives_back_what_the_limits_before_it_hold(answers: Any, waits: bool) -> None:
    shares, first = Shares(*(shortage(reason, budget()) for reason in answers)), Earlier(waits=waits)
    with pytest.raises((QuotaExceeded, Unavailable)):
        await asked(limit(shares), account(budget()), first, demand())
    assert (first.ends, shares.ends) == (["released"], [])


async def test_nothing_is_asked_once_a_limit_before_it_has_refused() -> None:
    def refuses(_: Demand) -> Any:
        raise Unavailable("no", code="x", retry_after=1.0)

    shares = Shares()
    with pytest.raises(Unavailable):
        await asked(limit(shares), account(budget()), refuses, demand())
    assert shares.asked == []


def test_without_a_budget_the_limits_before_it_are_all() -> None:
    first = Earlier()
    ends = first.ends
    assert limit(Shares()).for_account(account(), first) == first
    reserve_both = limit(Shares()).for_account(account(budget(models=("other",))), first)
    assert reserve_both is not None
    verdict = reserve_both(demand())
    assert isinstance(verdict, Verdict)
    verdict.reservation.release()
    assert ends == ["released"]


def test_models_and_endpoints_of_one_account_are_told_apart() -> None:
    """Budgets of groups of models, and what the usual reply of each endpoint costs."""
    shares = Shares()
    one = limit(shares)
    who = account(budget(id=1, models=("a-*",)), budget(id=2, models=("*-large",)), budget(id=3))
    together = one.for_account(who)
    assert together is not None
    seen = []
    for _ in range(2):
        for model, endpoint in (
            ("a-large", "chat/completions"),
            ("a-small", "embeddings"),
            ("b", "completions"),
        ):
            what = demand(max_tokens=None)
            what.request.model, what.request.endpoint = model, endpoint  # type: ignore[assignment]
            together(what)
            windows, amount = shares.asked[-1]
            assert amount == one.amount_of(what)
            seen.append([window.budget_id for window in windows])
    assert seen == [[1, 2, 3], [1, 3], [3]] * 2
