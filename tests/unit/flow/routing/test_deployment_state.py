"""The state of a deployment: load, recent failures, and permits that are given back once."""

from __future__ import annotations

from collections import Counter

from llm_gateway.flow.routing.deployment_state import DeploymentState, Permit
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.routing import model, plan_for, snapshot_of, trip, weighted


def test_least_busy_is_not_drawn_to_one_that_fails_at_once() -> None:
    """Two deployments, ten seconds a reply; one refuses within no time. It must not get more than its half."""
    snapshot = snapshot_of(*weighted({"bad": 1, "good": 1}), models=(model(strategy="least_busy"),))
    selector, now = Selector(), 0.0
    open_visits: list[tuple[float, Permit]] = []
    asked: Counter[str] = Counter()
    for number in range(2000):
        now = number * 0.05
        while open_visits and open_visits[0][0] <= now:
            open_visits.pop(0)[1].succeeded(now)
        candidate = plan_for(selector, snapshot).first(now)
        key = candidate.deployment.provider_key
        asked[key] += 1
        permit = candidate.state.admit(now)
        if key == "bad":
            # Its breaker is kept closed, so that the load alone decides.
            permit.failed(now)
            candidate.breaker.succeeded(candidate.breaker.acquire(now), now)
            candidate.breaker._attempts = candidate.breaker._failures = 0
        else:
            open_visits.append((now + 10.0, permit))
    assert asked["bad"] < asked["good"] * 1.1


def test_a_failure_decays() -> None:
    selector = Selector()
    snapshot = snapshot_of(*weighted({"a": 1}))
    state: DeploymentState = plan_for(selector, snapshot).first(0.0).state
    state.admit(0.0).failed(0.0)
    assert [round(state.load(now), 3) for now in (0.0, 10.0, 20.0, 100.0)] == [1.0, 0.5, 0.25, 0.0]


def test_a_permit_is_given_back_once() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 1})), Selector()
    state = plan_for(selector, snapshot).first(0.0).state
    permit = state.admit(0.0)
    assert state.in_flight == 1
    permit.succeeded(0.0)
    permit.failed(0.0)
    permit.release()
    assert state.in_flight == 0
    assert state.breaker.consecutive_failures == 0


def test_each_opening_of_a_breaker_is_reported() -> None:
    heard: list[tuple[str, float]] = []
    selector = Selector(on_open=lambda state, seconds: heard.append((state.provider_key, seconds)))
    snapshot = snapshot_of(*weighted({"a": 1}))
    trip(selector, snapshot, "a")
    candidate = plan_for(selector, snapshot).first(1.0)
    candidate.state.admit(1.0).failed(1.0)
    assert heard == [("a", 5.0)]
    candidate.state.admit(5.0).failed(5.0)
    assert heard == [("a", 5.0), ("a", 10.0)]
