"""The explanation matches what the next live request does, and explaining changes no state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.accounts import Tenant
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.errors import BadRequest, GatewayError, NotFound
from llm_gateway.core.routing.circuit_breaker import BreakerRules
from llm_gateway.flow.explain.answer import Question
from llm_gateway.flow.explain.explainer import explain
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.in_memory import FakeGateway, Fixed, ScriptedUpstream, credential, provider
from tests.fakes.price_books import price_book
from tests.fakes.routing import model, refusing, snapshot_of, trip, weighted, whole


def bench_of(*providers: Any, models: Sequence[Any] = (), **more: Any) -> FakeGateway:
    """Return a bench whose providers all fail."""
    answers: dict[str, Any] = {each.provider_key: refusing(500) for each in providers}
    options = Options(max_retries=0, provider_suffix="Proxy")
    return FakeGateway(
        *providers, upstream=ScriptedUpstream(**answers), models=tuple(models), options=options, **more
    )


def order(bench: FakeGateway, **question: Any) -> list[str]:
    return [stop.provider for stop in explain(bench.gateway, Question(**{"model": "m", **question})).order]


async def live(bench: FakeGateway, **fields: Any) -> list[str]:
    """Return who is asked when everyone fails."""
    body = msgspec.json.encode({"model": "m", "messages": [], **fields})

    async def read() -> bytes:
        await asyncio.sleep(0)
        return body

    before = len(bench.upstream.hosts)
    with pytest.raises(GatewayError):
        await handle(bench.gateway, bench.call(), read)
    return bench.upstream.hosts[before:]


@given(
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    strategy=st.sampled_from(["weighted_round_robin", "weighted_random", "least_busy"]),
    affinity=st.sampled_from([None, "user"]),
    down=st.sets(st.sampled_from("abcd"), max_size=2),
    count=st.integers(1, 5),
)
def test_the_order_is_that_of_the_next_live_request(
    weights: list[int], strategy: Any, affinity: str | None, down: set[str], count: int
) -> None:
    async def compare() -> None:
        names = dict(zip("abcd", weights, strict=False))
        rules = model(strategy=strategy, affinity=affinity, fallbacks=("n",))
        bench = bench_of(
            *weighted(names),
            provider("z", 9, model_mapping={"n": "up"}),
            models=(rules,),
            # Failures on the way open nothing: what one request changes is not what the next is told.
            selector=Selector(
                draw=lambda: 0.3, rules=BreakerRules(consecutive_failures=99, min_attempts=999)
            ),
        )
        snapshot = bench.gateway.snapshots.current
        assert snapshot is not None
        trip(bench.gateway.selector, snapshot, *down, now=bench.clock.now, retry_after=5)
        for number in range(count):
            user = f"u{number}"
            said = [order(bench, user=user) for _ in range(3)]
            assert said[0] == said[1] == said[2]
            assert said[0] == await live(bench, user=user)
            # Everyone fails all the time, which the budget would put an end to.
            bench.gateway.selector._explicit["m"].budget._tokens = 10.0

    asyncio.run(compare())


def test_nobody_is_called_and_no_state_moves() -> None:
    bench = bench_of(*weighted({"a": 2, "b": 1}))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    selector = bench.gateway.selector
    trip(selector, snapshot, "a", now=bench.clock.now)
    bench.clock.now += 5
    credits_before = {**selector._explicit["m"].round_robin._credits}
    for _ in range(5):
        explain(bench.gateway, Question(model="m"))
    assert bench.upstream.requests == []
    assert selector._explicit["m"].round_robin._credits == credits_before
    assert selector._explicit["m"].budget.requests == 0
    # The trial is still to be had.
    assert selector.open_breakers()["a"][0].breaker.allows(bench.clock.now)
    assert {state.in_flight for state in selector._deployment_states.values()} == {0}


def test_who_is_left_out_and_why() -> None:
    kinds = {"openai": Kind(name="openai"), "embeds": Kind(name="embeds", endpoints=("embeddings",))}
    mapping = {"model_mapping": {"m": "up"}}
    snapshot = snapshot_of(
        provider("good", 1, **mapping),
        provider("also", 2, **mapping),
        provider("off", 3, is_enabled=False, **mapping),
        provider("dry", 4, weight=0, **mapping),
        provider("embed", 5, provider_type="embeds", **mapping),
        provider("else", 6, model_mapping={"x": "up"}),
        provider("drained-here", 7, **mapping),
        provider("third", 8, **mapping),
        models=(model(weights={"drained-here": 0, "good": 5}),),
        kinds=kinds,
    )
    bench = bench_of(provider("good"))
    object.__setattr__(bench.gateway, "snapshots", Fixed(snapshot))
    trip(bench.gateway.selector, snapshot, "also", now=bench.clock.now)
    bench.clock.now += 2
    said = explain(bench.gateway, Question(model="m"))
    (route,) = said.routes
    assert {(left.provider, left.reason) for left in route.left_out} == {
        ("off", "disabled"),
        ("dry", "drained"),
        ("drained-here", "drained"),
        ("embed", "endpoint"),
        ("else", "not_mapped"),
        ("also", "breaker_open"),
    }
    assert route.not_mapped == 1
    assert [(each.provider, each.weight, each.breaker, each.trial_in) for each in route.candidates] == [
        ("good", 5, "closed", 0.0),
        ("also", 1, "open", 3.0),
        ("third", 1, "closed", 0.0),
    ]
    assert [stop.provider for stop in said.order] == ["good", "third"]
    assert not route.panic


def test_what_is_in_force_is_shown() -> None:
    rules = model(
        retry=RetryRules(max_retries=7, retry_cut=False),
        timeouts=Timeouts(connect=1, idle=2),
        fallbacks=("n", "o"),
        context_fallbacks=("big",),
        policy_fallbacks=("n",),
        affinity="header:x-session",
    )
    limited = credential(credential_id=4, allowed_models=("m", "n"), rate_limit=9)
    bench = bench_of(
        *weighted({"a": 1}),
        provider("b", 2, model_mapping={"n": "up", "o": "up"}),
        models=(rules,),
        credentials=(limited,),
    )
    by_name = explain(bench.gateway, Question(model="m", credential="tester"))
    said = explain(bench.gateway, Question(model="Proxy/m", credential=4, headers={"X-Session": "1"}))
    assert by_name.credential == said.credential == "tester"
    assert (said.rate_limit, said.model) == (9, "m")
    assert not by_name.routes[0].has_affinity
    assert (said.retries.max_retries, said.retries.retry_cut, said.retries.max_backoff_ms) == (
        7,
        False,
        30_000,
    )
    assert (said.timeouts.connect, said.timeouts.idle, said.timeouts.total) == (1, 2, 600)
    shown = {(route.model, route.role): route.passed_over for route in said.routes}
    assert shown["m", "asked"] is None
    assert shown["n", "fallback"] is None
    assert shown["o", "fallback"] == "the credential may not use this model"
    assert shown["big", "context_fallback"] == "the credential may not use this model"
    assert ("n", "policy_fallback") in shown
    assert said.routes[0].has_affinity
    assert [(stop.model, stop.provider) for stop in said.order] == [("m", "a"), ("n", "b")]


def test_what_a_client_would_be_refused_with_is_said() -> None:
    disabled = credential("k2", 2, name="off", is_enabled=False)
    expired = credential("k3", 3, name="past", expires_at=1)
    shut = credential("k4", 4, name="shut", tenant="acme")
    bench = bench_of(
        *weighted({"a": 1}),
        credentials=(credential(allowed_models=("n",)), disabled, expired, shut),
        tenants=(Tenant(id=1, name="acme", is_enabled=False),),
    )
    questions = (
        Question(model="m", credential="tester"),
        Question(model="m", credential="off"),
        Question(model="m", credential="past"),
        Question(model="m", credential="shut"),
        Question(model="unknown"),
        Question(model="m"),
    )
    refusals = [explain(bench.gateway, question).refused for question in questions]
    assert [refused and (refused.status, refused.code) for refused in refusals] == [
        (403, "model_not_allowed"),
        (401, "invalid_api_key"),
        (401, "expired_api_key"),
        (403, "tenant_disabled"),
        (404, "model_not_found"),
        None,
    ]
    with pytest.raises(NotFound):
        explain(bench.gateway, Question(model="m", credential="nobody"))
    with pytest.raises(BadRequest):
        explain(bench.gateway, Question())


def test_s3_2_a_task_type_is_a_list_of_models_best_first() -> None:
    providers = (
        provider("a", 1, model_mapping={"one": "up"}),
        provider("b", 2, model_mapping={"two": "up"}),
        provider("c", 3, model_mapping={"three": "up"}),
    )
    tasks = (TaskType(id=1, name="summarization", models=("gone", "one", "two", "three")),)
    snapshot = snapshot_of(
        *providers, tasks=tasks, credentials=(credential(allowed_models=("one", "three")),)
    )
    bench = bench_of(*providers)
    object.__setattr__(bench.gateway, "snapshots", Fixed(snapshot))
    said = explain(bench.gateway, Question(task_type="summarization"))
    assert said.task_models == ("one", "two", "three")
    assert [stop.provider for stop in said.order] == ["a", "b", "c"]
    limited = explain(bench.gateway, Question(task_type="summarization", credential="tester"))
    assert limited.task_models == ("one", "three")
    trip(bench.gateway.selector, snapshot, "a", name="one", now=bench.clock.now)
    assert [stop.provider for stop in explain(bench.gateway, Question(task_type="summarization")).order] == [
        "b",
        "c",
    ]
    with pytest.raises(NotFound):
        explain(bench.gateway, Question(task_type="juggling"))


def test_of_many_providers_that_do_not_map_a_model_a_hundred_are_named() -> None:
    others = [provider(f"x{number}", number, model_mapping={"x": "up"}) for number in range(2, 160)]
    bench = bench_of(*weighted({"a": 1}))
    snapshot = snapshot_of(*weighted({"a": 1}), *others)
    object.__setattr__(bench.gateway, "snapshots", Fixed(snapshot))
    (route,) = explain(bench.gateway, Question(model="m")).routes
    assert (route.not_mapped, len(route.left_out)) == (158, 100)


def test_explaining_needs_no_earlier_request() -> None:
    bench = bench_of(*weighted({"a": 1, "b": 1}))
    bench.upstream.answers["a"] = [whole]
    assert sorted(order(bench)) == ["a", "b"]
    assert bench.gateway.selector._explicit == {}


def test_prices_in_force_are_shown_and_who_is_left_out_without_them() -> None:
    mapping = {"model_mapping": {"m": "cheap"}}
    override = PriceOverride(
        id=3, provider="over", upstream_model="cheap", prices={"input_tokens": "1"}, valid_until=10**18
    )
    snapshot = snapshot_of(
        provider("known", 1, price_provider="acme", **mapping),
        provider("over", 2, **mapping),
        provider("not", 3, **mapping),
        provider("not-either", 4, model_mapping={"n": "cheap"}),
        models=(model(fallbacks=("n",)),),
        credentials=(credential(require_pricing=True),),
        prices=price_book(),
        overrides=(override,),
    )
    bench = bench_of(provider("good"))
    object.__setattr__(bench.gateway, "snapshots", Fixed(snapshot))
    (asked, fallback) = explain(bench.gateway, Question(model="m")).routes
    shown = {each.provider: each.prices for each in asked.candidates}
    assert (shown["known"].source, shown["known"].version) == ("catalog", "book-1")
    assert shown["known"].prices == {"output_tokens": "1.5", "input_tokens": "0.5"}
    assert (shown["over"].source, shown["over"].version) == ("override", override.version)
    assert (shown["not"].source, shown["not"].unknown) == ("none", "unknown_provider")
    assert fallback.passed_over is None

    strict = explain(bench.gateway, Question(model="m", credential="tester"))
    assert sorted(stop.provider for stop in strict.order) == ["known", "over"]
    left_out = {(left.provider, left.reason) for left in strict.routes[0].left_out}
    assert ("not", "not_priced") in left_out
    assert strict.routes[1].passed_over is not None
    refused = explain(bench.gateway, Question(model="n", credential="tester")).refused
    assert refused is not None
    assert (refused.status, refused.code) == (403, "model_not_priced")
