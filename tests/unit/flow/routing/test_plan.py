"""Plans: which deployments a request may try, and what affinity takes from it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from llm_gateway.flow.routing.selector import Selector
from tests.fakes.routing import keys_of, model, plan_for, snapshot_of, trip, weighted


def test_one_provider_alone_is_asked_whatever_its_breaker_says() -> None:
    snapshot, selector = snapshot_of(*weighted({"a": 1})), Selector()
    trip(selector, snapshot, "a")
    assert keys_of(plan_for(selector, snapshot)) == ["a"]


@pytest.mark.parametrize("fields", [{}, {"user": None}, {"user": ""}])
def test_without_what_affinity_looks_at_the_strategy_decides(fields: dict[str, Any]) -> None:
    snapshot = snapshot_of(*weighted({"a": 1, "b": 1}), models=(model(affinity="user"),))
    selector = Selector()
    found = Counter(
        plan_for(selector, snapshot, **fields).first(0.0).deployment.provider_key for _ in range(6)
    )
    assert found == {"a": 3, "b": 3}


def test_affinity_by_header_and_by_cache_key() -> None:
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("header:X-Session", {"headers": ((b"x-other", b"1"), (b"x-session", b"s"))}),
        ("prompt_cache_key", {"prompt_cache_key": "k"}),
    )
    for rule, more in cases:
        snapshot = snapshot_of(*weighted({"a": 1, "b": 1, "c": 1}), models=(model(affinity=rule),))
        selector = Selector()
        orders = {tuple(keys_of(plan_for(selector, snapshot, **more))) for _ in range(4)}
        assert len(orders) == 1
