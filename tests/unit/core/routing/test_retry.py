"""Retry, fail over or give up: the rules as values (C29), and the budget that bounds them."""

from __future__ import annotations

import pytest

from llm_gateway.core.routing.retry import (
    FAILOVER,
    GIVE_UP,
    Failure,
    Retry,
    RetryBudget,
    RetryPolicy,
    Step,
    is_provider_failure,
)

POLICY = RetryPolicy()
DOWN = Failure(reason="status", status=500)


def decide(
    failure: Failure = DOWN,
    *,
    policy: RetryPolicy = POLICY,
    untried: bool = False,
    ready_in: float | None = 0.0,
    retries: int = 0,
    draw: float = 0.5,
) -> Step:
    return policy.decide(failure, untried=untried, ready_in=ready_in, retries=retries, draw=draw)


def test_c29_another_deployment_is_preferred_to_waiting_for_the_same() -> None:
    assert decide(untried=True) is FAILOVER
    assert decide(untried=True, retries=99, ready_in=None) is FAILOVER


def test_s3_12_s3_17_waits_grow_are_capped_and_jittered() -> None:
    waits = [decide(retries=k, policy=RetryPolicy(max_retries=10)) for k in range(7)]
    assert waits == [Retry(after) for after in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)]
    assert decide(draw=0.0) == Retry(0.9)
    assert decide(draw=1.0) == Retry(1.1)
    assert RetryPolicy(factor=10.0).backoff(10_000, 0.5) == 30.0


def test_c29_max_retries_counts_further_tries() -> None:
    assert decide(retries=2) == Retry(4.0)
    assert decide(retries=3) is GIVE_UP
    assert decide(policy=RetryPolicy(max_retries=0)) is GIVE_UP


def test_s3_9_a_wait_that_is_asked_for_is_kept_up_to_the_longest_of_our_own() -> None:
    asked = Failure(reason="status", status=429, retry_after=30.0)
    assert decide(asked, ready_in=30.0) == Retry(30.0)
    assert decide(asked, ready_in=30.1) is GIVE_UP
    assert decide(asked, ready_in=0.2) == Retry(1.0)
    assert decide(asked, ready_in=None) is GIVE_UP


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422, 451])
def test_the_clients_own_fault_is_never_sent_twice(status: int) -> None:
    failure = Failure(reason="status", status=status)
    assert not is_provider_failure(failure)
    assert decide(failure, untried=True) is GIVE_UP


@pytest.mark.parametrize("status", [302, 401, 402, 408, 429, 500, 502, 503, 504, 529])
def test_the_providers_fault_is_tried_elsewhere(status: int) -> None:
    failure = Failure(reason="status", status=status)
    assert is_provider_failure(failure)
    assert decide(failure, untried=True) is FAILOVER


def test_a_cut_may_be_forbidden_to_be_sent_twice() -> None:
    cut = Failure(reason="cut")
    assert decide(cut, untried=True) is FAILOVER
    assert decide(cut, untried=True, policy=RetryPolicy(retry_cut=False)) is GIVE_UP
    assert decide(Failure(reason="connect"), untried=True, policy=RetryPolicy(retry_cut=False)) is FAILOVER


def test_a_refusal_that_another_model_may_make_good_is_not_the_providers_fault() -> None:
    assert not is_provider_failure(Failure(reason="protocol", about="content_policy"))


def test_at_most_three_or_a_fifth_of_what_is_in_flight_are_further_attempts() -> None:
    budget = RetryBudget()
    assert [budget.acquire(0.0, 1) for _ in range(4)] == [True, True, True, False]
    budget.release()
    assert budget.acquire(0.0, 1)
    busy = RetryBudget()
    assert sum(busy.acquire(0.0, 20) for _ in range(20)) == 4


def test_what_is_saved_runs_out_and_comes_back_with_time_and_with_requests() -> None:
    budget = RetryBudget()

    def take_all(now: float) -> int:
        in_use = 0
        while budget.acquire(now, 1000):
            budget.release()
            in_use += 1
        return in_use

    assert take_all(0.0) == 10
    assert take_all(1.0) == 0
    assert take_all(20.0) == 2
    budget.requests += 35
    assert take_all(20.0) == 3
    budget.requests += 100_000
    assert take_all(20.0) == 10
    assert take_all(1e6) == 10
