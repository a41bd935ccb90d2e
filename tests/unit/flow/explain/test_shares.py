"""The shares that an admin sees are those that the selector gives, and say why a provider has none."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.explain.explainer import explain_route
from llm_gateway.flow.explain.shares import ANY_OTHER, RequestShare, models_of, served_by_it_alone, shares
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, provider
from tests.fakes.routing import model, snapshot_of, trip, weighted

MAPPING = {"model_mapping": {"m": "up"}}


def bench_of(*providers: Provider, models: tuple[Model, ...] = ()) -> FakeGateway:
    return FakeGateway(*providers, upstream=ScriptedUpstream(), models=models)


def shown(bench: FakeGateway, name: str = "m", snapshot: Snapshot | None = None) -> tuple[RequestShare, ...]:
    snapshot = snapshot or current(bench)
    return shares(explain_route(bench.gateway, snapshot, name), snapshot)


def current(bench: FakeGateway) -> Snapshot:
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    return snapshot


@given(
    own=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    overrides=st.dictionaries(st.sampled_from("abcde"), st.integers(0, 6)),
    down=st.sets(st.sampled_from("abcde"), max_size=3),
)
def test_the_shares_are_those_of_the_next_requests(
    own: list[int], overrides: dict[str, int], down: set[str]
) -> None:
    bench = bench_of(*weighted(dict(zip("abcde", own, strict=False))), models=(model(weights=overrides),))
    selector, snapshot, now = bench.gateway.selector, current(bench), bench.clock.now
    route = snapshot.route("m")
    assert route is not None
    if route.deployments:
        trip(selector, snapshot, *down, now=now)
    expected = {one.provider: one.share for one in shown(bench) if one.share}
    total = sum(one.weight for one in shown(bench) if one.share)
    state, candidates = selector.look_up(route, snapshot)
    counts = Counter[str]()
    for _ in range(total):
        chosen = selector.first(state, candidates, None, now)
        if chosen is None:
            # As a plan does when every breaker refuses an attempt.
            everyone = range(len(candidates.candidates))
            chosen = selector.choose(state, candidates, everyone, None, now, charge=True)
        counts[chosen.deployment.provider_key] += 1
    assert {key: number / total for key, number in counts.items()} == expected
    assert bool(expected) is bool(route.deployments)


def test_who_gets_none_is_shown_with_the_reason_and_the_weight() -> None:
    bench = bench_of(
        *weighted({"a": 2, "b": 2, "open": 2, "own": 3}),
        provider("off", 8, is_enabled=False, weight=7, **MAPPING),
        provider("else", 9, model_mapping={"n": "up"}),
        models=(model(weights={"own": 0, "b": 6}),),
    )
    trip(bench.gateway.selector, current(bench), "open", now=bench.clock.now)
    assert [(one.provider, one.weight, one.share, one.reason) for one in shown(bench)] == [
        ("a", 2, 0.25, None),
        ("b", 6, 0.75, None),
        ("own", 0, 0.0, "drained"),
        ("off", 7, 0.0, "disabled"),
        ("open", 2, 0.0, "breaker_open"),
    ]


def test_in_a_panic_breakers_are_ignored() -> None:
    bench = bench_of(*weighted({"a": 1, "b": 3}))
    trip(bench.gateway.selector, current(bench), "b", now=bench.clock.now)
    assert [(one.provider, one.share) for one in shown(bench)] == [("a", 0.25), ("b", 0.75)]


def test_a_configuration_that_is_not_in_force_is_explained_without_touching_what_is() -> None:
    bench = bench_of(*weighted({"a": 1, "b": 1}))
    after = snapshot_of(*weighted({"a": 1, "b": 3, "c": 4}))
    assert [one.share for one in shown(bench, snapshot=after)] == [0.125, 0.375, 0.5]
    assert [one.share for one in shown(bench)] == [0.5, 0.5]
    route = current(bench).route("m")
    assert route is not None
    assert bench.gateway.selector.known_route_state(route) is None


def test_a_model_that_nobody_serves_has_no_shares() -> None:
    assert shown(bench_of(provider("a", 1, **MAPPING)), "other") == ()


def test_the_models_of_a_provider_are_those_it_names_and_known_ones_that_it_matches() -> None:
    snapshot = snapshot_of(
        provider("one", 1, model_mapping={"m": "up", "gpt-*": "*"}),
        provider("all", 2),
        provider("off", 3, is_enabled=False, model_mapping={"x": "up"}),
        provider("gpt", 4, model_mapping={"gpt-1": "up"}),
        models=(model("gpt-2"), model("other")),
    )
    assert list(models_of(snapshot, "one")) == ["m", "gpt-1", "gpt-2"]
    assert list(models_of(snapshot, "all")) == ["m", "gpt-1", "gpt-2", "other", ANY_OTHER]
    assert list(models_of(snapshot, "off")) == ["x"]
    assert list(models_of(snapshot, "nobody")) == []


def test_what_only_one_provider_serves() -> None:
    snapshot = snapshot_of(
        provider("a", 1, model_mapping={"m": "up", "n": "up", "drained": "up"}),
        provider("b", 2, model_mapping={"n": "up"}),
        provider("c", 3, model_mapping={"drained": "up"}, weight=0),
    )
    assert list(served_by_it_alone(snapshot, "a")) == ["m", "drained"]
    assert list(served_by_it_alone(snapshot, "b")) == []
