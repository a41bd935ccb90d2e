"""Plans try each deployment once, shares follow weights, and affinity moves as few values as possible."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.core.routing.load_balancing import SmoothWeightedRoundRobin, rendezvous
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.routing import model, order_of, plan_for, snapshot_of, trip, weighted

_NAMES = "abcdef"
_STRATEGIES = st.sampled_from(["weighted_round_robin", "weighted_random", "least_busy"])
_WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(
    weights=_WEIGHTS,
    strategy=_STRATEGIES,
    down=st.sets(st.sampled_from(_NAMES)),
    keep=st.booleans(),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20),
    now=st.sampled_from([0.0, 5.0]),
)
def test_a_plan_tries_each_deployment_once_and_skips_only_open_breakers(
    weights: list[int], strategy: str, down: set[str], keep: bool, draws: list[float], now: float
) -> None:
    named = dict(zip(_NAMES, weights, strict=False))
    rules = model(strategy=strategy, affinity="user" if keep else None)
    snapshot = snapshot_of(*weighted(named), models=(rules,))
    numbers = iter(draws * 50)
    selector = Selector(draw=lambda: next(numbers))
    trip(selector, snapshot, *down)
    plan = plan_for(selector, snapshot, user="somebody")
    keys = [candidate.deployment.provider_key for candidate in order_of(plan, now)]
    assert len(keys) == len(set(keys))
    open_weight = sum(weight for key, weight in named.items() if key in down and now < 5.0)
    if 2 * open_weight > sum(weights):
        assert set(keys) == set(named)
    else:
        assert set(keys) == {key for key in named if key not in down or now >= 5.0}


@settings(max_examples=10)
@given(weights=st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_affinitys_shares_follow_the_weights(weights: list[int]) -> None:
    names = [f"{number}/up".encode() for number in range(len(weights))]
    count = 4000
    found = Counter(
        rendezvous(b"user-%d" % number, names, weights, range(len(names))) for number in range(count)
    )
    for index, weight in enumerate(weights):
        assert abs(found[index] / count - weight / sum(weights)) < 0.04


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    values=st.lists(st.binary(min_size=1, max_size=20), max_size=40),
    data=st.data(),
)
def test_one_that_leaves_moves_its_own_values_alone(
    weights: list[int], values: list[bytes], data: st.DataObject
) -> None:
    names = [b"%d" % number for number in range(len(weights))]
    everyone = list(range(len(weights)))
    gone = data.draw(st.sampled_from(everyone))
    left = [index for index in everyone if index != gone]
    for value in values:
        before = rendezvous(value, names, weights, everyone)
        after = rendezvous(value, names, weights, left)
        assert before in {after, gone}


@given(weights=_WEIGHTS, turns=st.integers(0, 40), data=st.data())
def test_picking_among_some_leaves_the_others_untouched_and_is_fair(
    weights: list[int], turns: int, data: st.DataObject
) -> None:
    keys = list(_NAMES[: len(weights)])
    # It looks at the credits, which a replayed cycle does not keep up to date.
    route_state = SmoothWeightedRoundRobin(longest_cycle=0)
    among = sorted(data.draw(st.sets(st.sampled_from(range(len(keys))), min_size=1)))
    fresh = Counter(
        route_state.pick_among(keys, weights, among) for _ in range(sum(weights[i] for i in among))
    )
    assert fresh == {index: weights[index] for index in among}
    for _ in range(turns):
        route_state.pick(keys, weights)
    owed = {key: route_state._credits.get(key, 0) for key in keys}
    route_state.pick_among(keys, weights, among)
    assert all(
        route_state._credits.get(keys[i], 0) == owed[keys[i]] for i in range(len(keys)) if i not in among
    )
