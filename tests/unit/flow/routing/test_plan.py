"""Plans: which deployments a request may try, and what affinity takes from it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.accounts import ANONYMOUS
from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Route
from llm_gateway.core.errors import BadRequest, ModelNotFound
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.routing.plan import Plan, make_plan
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.surfaces.openai.parsing import parse_response
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


def deployment(number: int, *endpoints: Any) -> Deployment:
    return Deployment(
        provider_id=number,
        provider_key=f"p{number}",
        kind="openai",
        base_url="https://p.test/v1",
        secret=None,
        upstream_model="up",
        weight=number,
        stream_usage=True,
        endpoints=endpoints,
    )


CHATS = deployment(1, "chat/completions", "completions")
ALL = deployment(2, "chat/completions", "completions", "embeddings", "responses")
ALL_TOO = deployment(3, "chat/completions", "responses")


def responses_request(**fields: Any) -> ModelRequest:
    return parse_response(msgspec.json.encode({"model": "m", "input": "a", **fields}))


def plan_of(*deployments: Deployment, asked: ModelRequest | None = None) -> Plan:
    route = Route("m", deployments, explicit=True)
    return make_plan(Selector(), snapshot_of(), ANONYMOUS, route, asked or responses_request(), ())


def test_a_plan_holds_the_deployments_that_answer_the_endpoint() -> None:
    route = Route("m", (CHATS, ALL, ALL_TOO), explicit=True)
    found = route.answering("responses")
    assert found.deployments == (ALL, ALL_TOO)
    assert (found.weights, found.model, found.rules) == ((2, 3), "m", route.rules)
    assert route.answering("responses") is found
    assert found.answering("responses") is found
    assert plan_of(CHATS, ALL, ALL_TOO).route.deployments == (ALL, ALL_TOO)


def test_a_model_without_a_deployment_at_the_endpoint_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match=r"No provider of the model 'm' supports /v1/responses") as caught:
        plan_of(CHATS)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_a_stateful_field_needs_a_route_with_one_provider(field: str) -> None:
    bound = responses_request(**{field: {"id": "x"} if field == "prompt" else "x"})
    assert bound.stateful_field == field
    found = plan_of(CHATS, ALL, asked=bound)
    assert (found.route.deployments, found.is_pinned) == ((ALL,), True)
    with pytest.raises(BadRequest, match=field) as caught:
        plan_of(CHATS, ALL, ALL_TOO, asked=bound)
    assert (caught.value.code, caught.value.param) == ("bound_to_one_provider", field)
