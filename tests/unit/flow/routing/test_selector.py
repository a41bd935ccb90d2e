"""Selection by strategy, breaker and affinity, and how long state is kept."""

from __future__ import annotations

import gc
from collections import Counter

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.routing.load_balancing import draw_by_weight, least_loaded
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.in_memory import provider
from tests.fakes.routing import keys_of, model, order_of, plan_for, snapshot_of, trip, weighted


def firsts(selector: Selector, snapshot: Snapshot, count: int, now: float = 0.0) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        plan = plan_for(selector, snapshot)
        found[plan.first(now).deployment.provider_key] += 1
    return found


def test_an_open_breaker_is_left_out_and_the_others_keep_their_shares() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 2, "b": 1, "c": 3})), Selector()
    trip(selector, snapshot, "a")
    assert firsts(selector, snapshot, 8) == {"b": 2, "c": 6}
    assert sorted(keys_of(plan_for(selector, snapshot))) == ["b", "c"]


def test_a_recovered_deployment_resumes_its_share() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 1, "b": 1, "c": 1})), Selector()
    trip(selector, snapshot, "a")
    firsts(selector, snapshot, 100)
    # The open time has passed. No attempt is made here, so the trial stays available.
    assert firsts(selector, snapshot, 30, now=5.0) == {"a": 10, "b": 10, "c": 10}


def test_when_over_half_of_the_weight_is_open_all_are_tried_rather_than_none() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 2, "b": 1, "c": 1})), Selector()
    trip(selector, snapshot, "a")
    assert firsts(selector, snapshot, 4) == {"b": 2, "c": 2}
    trip(selector, snapshot, "a", "b")
    assert firsts(selector, snapshot, 8) == {"a": 4, "b": 2, "c": 2}
    assert len(keys_of(plan_for(selector, snapshot))) == 3


def test_a_half_open_breaker_allows_one_attempt_at_a_time() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 1, "b": 1})), Selector()
    trip(selector, snapshot, "a")
    permits = []
    for _ in range(6):
        candidate = plan_for(selector, snapshot).first(5.0)
        permits.append((candidate.deployment.provider_key, candidate.state.admit(5.0)))
    assert [key for key, _ in permits].count("a") == 1
    next(permit for key, permit in permits if key == "a").succeeded(5.0)
    assert firsts(selector, snapshot, 4, now=5.0) == {"a": 2, "b": 2}


def test_weighted_random_draws_by_weight() -> None:
    draws = iter([number / 10 for number in range(10)])
    snapshot = snapshot_of(*weighted({"a": 7, "b": 3}), models=(model(strategy="weighted_random"),))
    selector = Selector(draw=lambda: next(draws))
    assert firsts(selector, snapshot, 10) == {"a": 7, "b": 3}
    assert draw_by_weight([1, 1], [0, 1], 0.9999999999999999) == 1


def test_least_busy_takes_the_fewest_in_flight_for_its_weight_and_turns_when_they_tie() -> None:
    snapshot = snapshot_of(*weighted({"a": 2, "b": 1, "c": 1}), models=(model(strategy="least_busy"),))
    selector = Selector()
    permits = []
    for _ in range(8):
        candidate = plan_for(selector, snapshot).first(0.0)
        permits.append((candidate.deployment.provider_key, candidate.state.admit(0.0)))
    assert Counter(key for key, _ in permits) == {"a": 4, "b": 2, "c": 2}
    for key, permit in permits:
        if key == "c":
            permit.succeeded(0.0)
    assert plan_for(selector, snapshot).first(0.0).deployment.provider_key == "c"
    assert least_loaded([2, 1], [2.0, 1.0], [0, 1]) == [0, 1]


def test_affinity_keeps_a_user_at_one_deployment_and_hands_it_on_when_that_is_down() -> None:
    snapshot = snapshot_of(*weighted({"a": 1, "b": 1, "c": 1}), models=(model(affinity="user"),))
    selector = Selector()
    order = keys_of(plan_for(selector, snapshot, user="ann"))
    assert sorted(order) == ["a", "b", "c"]
    assert all(keys_of(plan_for(selector, snapshot, user="ann")) == order for _ in range(5))
    trip(selector, snapshot, order[0])
    assert keys_of(plan_for(selector, snapshot, user="ann")) == order[1:]
    # After a restart it is the same.
    assert keys_of(plan_for(Selector(), snapshot, user="ann")) == order
    assert {keys_of(plan_for(selector, snapshot, user=f"u{n}"), 5.0)[0] for n in range(30)} == {"a", "b", "c"}


def test_state_outlives_a_snapshot_and_is_shared_between_routes() -> None:
    providers = weighted({"a": 1, "b": 1}, model_mapping={"m": "up", "n": "up"})
    before, after, selector = snapshot_of(*providers), snapshot_of(*providers), Selector()
    trip(selector, before, "a")
    assert keys_of(plan_for(selector, after)) == ["b"]
    assert keys_of(plan_for(selector, after, "n")) == ["b"]
    assert [len(states) for states in selector.open_breakers().values()] == [1]


def test_busy_deployments_have_an_attempt_in_flight_or_a_breaker_that_is_not_closed() -> None:
    selector, snapshot = Selector(), snapshot_of(*weighted({"a": 1, "b": 1, "c": 1}))
    plan_for(selector, snapshot)
    assert selector.busy_deployments() == []
    trip(selector, snapshot, "a")
    permit = plan_for(selector, snapshot).first(0.0).state.admit(0.0)
    assert [state.in_flight for state in selector.busy_deployments()] in ([0, 1], [1, 0])
    permit.release()
    assert [state.provider_key for state in selector.busy_deployments()] == ["a"]


def test_states_of_removed_deployments_are_dropped() -> None:
    selector = Selector()
    old = snapshot_of(*weighted({"a": 1, "b": 1}))
    trip(selector, old, "a")
    new = snapshot_of(*weighted({"x": 1, "b": 1})[1:])
    assert keys_of(plan_for(selector, new)) == ["b"]
    gc.collect()
    assert selector.open_breakers() == {}
    assert [state.provider_key for state in selector._deployment_states.values()] == ["b"]


def test_states_of_removed_models_are_dropped() -> None:
    selector = Selector()
    for generation in range(6):
        names = {f"m{generation}-{number}": "up" for number in range(500)}
        snapshot = snapshot_of(provider("a", model_mapping=names))
        for name in names:
            plan_for(selector, snapshot, name)
    assert len(selector._explicit) <= 1500


def test_names_from_clients_do_not_push_out_what_is_known_of_named_models() -> None:
    snapshot = snapshot_of(provider("a", model_mapping={"m": "up", "*": "*"}), *weighted({"b": 1})[:0])
    selector = Selector(on_demand_limit=50)
    trip(selector, snapshot, "a")
    for number in range(200):
        plan_for(selector, snapshot, f"junk-{number}")
    gc.collect()
    assert len(selector._on_demand) == 50
    assert len(selector._deployment_states) <= 51
    assert selector.open_breakers().keys() == {"a"}


def test_the_copy_chooses_alike_and_moves_nothing() -> None:
    snapshot = snapshot_of(*weighted({"a": 3, "b": 2, "c": 1}))
    selector = Selector()
    for _ in range(4):
        plan_for(selector, snapshot).first(0.0)
    trip(selector, snapshot, "b")
    for now in (0.0, 5.0, 6.0):
        told = [keys_of(plan_for(selector.copy(), snapshot), now) for _ in range(3)]
        assert told[0] == told[1] == told[2]
        assert [each.deployment.provider_key for each in order_of(plan_for(selector, snapshot), now)] == told[
            0
        ]
