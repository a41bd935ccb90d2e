"""A credential that requires known prices: deployments without any are in none of its plans."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.accounts import ANONYMOUS
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.errors import BadRequest, ModelNotFound, ModelNotPriced
from llm_gateway.core.model_request import BoundRequest
from llm_gateway.flow.routing.plan import find_route, make_plan, task_routes
from llm_gateway.flow.routing.priced_models import priced_models
from llm_gateway.flow.routing.selector import Selector
from tests.fakes.in_memory import credential, provider
from tests.fakes.price_books import price_book
from tests.fakes.routing import keys_of, model, plan_for, snapshot_of, trip

BOOK = price_book()
STRICT = Principal(credential(require_pricing=True))


def priced(key: str, number: int, upstream: str = "cheap", public: str = "m", **fields: Any) -> Provider:
    return provider(key, number, model_mapping={public: upstream}, price_provider="acme", **fields)


def unpriced(key: str, number: int, public: str = "m", **fields: Any) -> Provider:
    return provider(key, number, model_mapping={public: "cheap"}, **fields)


def test_without_the_requirement_prices_do_not_matter() -> None:
    snapshot = snapshot_of(priced("a", 1), unpriced("b", 2), prices=BOOK)
    assert sorted(keys_of(plan_for(Selector(), snapshot))) == ["a", "b"]


def test_deployments_without_prices_are_left_out() -> None:
    snapshot = snapshot_of(
        priced("a", 1), unpriced("b", 2), priced("c", 3, "free"), priced("d", 4, "unpriced"), prices=BOOK
    )
    selector = Selector()
    for _ in range(4):
        assert sorted(keys_of(plan_for(selector, snapshot, account=STRICT))) == ["a", "c"]
    # Other credentials are not affected.
    assert sorted(keys_of(plan_for(selector, snapshot))) == ["a", "b", "c", "d"]


def test_a_panic_does_not_bring_them_back() -> None:
    snapshot, selector = snapshot_of(priced("a", 1), unpriced("b", 2), prices=BOOK), Selector()
    trip(selector, snapshot, "a")
    assert keys_of(plan_for(selector, snapshot, account=STRICT)) == ["a"]


def test_without_any_prices_the_request_is_refused() -> None:
    for book in (BOOK, None):
        snapshot = snapshot_of(unpriced("a", 1), unpriced("b", 2), prices=book)
        with pytest.raises(ModelNotPriced, match="The price of the model 'm' is not known") as caught:
            plan_for(Selector(), snapshot, account=STRICT)
        error = caught.value
        assert (error.status, error.code, error.param) == (403, "model_not_priced", "model")


def test_a_fallback_model_with_prices_serves_instead_and_one_without_does_not() -> None:
    snapshot = snapshot_of(
        unpriced("a", 1),
        priced("b", 2, public="n"),
        unpriced("c", 3, public="o"),
        models=(model("m", fallbacks=("o", "n")), model("o", fallbacks=("m",))),
        prices=BOOK,
    )
    assert keys_of(plan_for(Selector(), snapshot, account=STRICT)) == ["b"]
    with pytest.raises(ModelNotPriced):
        plan_for(Selector(), snapshot, "o", account=STRICT)


def test_the_fallbacks_after_an_error_have_prices() -> None:
    snapshot = snapshot_of(
        priced("a", 1), unpriced("b", 2, public="n"), priced("c", 3, public="o"), prices=BOOK
    )
    plan = plan_for(Selector(), snapshot, account=STRICT)
    plan.exclude(plan.first(0.0))
    plan.switch_to(("n", "o"))
    assert keys_of_rest(plan) == ["c"]


def keys_of_rest(plan: Any) -> list[str]:
    found = []
    while (candidate := plan.next(0.0)) is not None:
        found.append(candidate.deployment.provider_key)
        plan.exclude(candidate)
    return found


def test_prices_count_at_the_time_of_the_request() -> None:
    override = PriceOverride(
        id=1,
        provider="a",
        upstream_model="cheap",
        prices={"input_tokens": "0"},
        valid_from=100_000_000,
        valid_until=200_000_000,
    )
    snapshot, selector = snapshot_of(unpriced("a", 1), prices=BOOK, overrides=(override,)), Selector()
    assert keys_of(plan_for(selector, snapshot, account=STRICT, created=100)) == ["a"]
    for created in (99, 200):
        with pytest.raises(ModelNotPriced):
            plan_for(selector, snapshot, account=STRICT, created=created)


def test_an_endpoint_that_nobody_serves_is_still_said_so() -> None:
    snapshot = snapshot_of(unpriced("a", 1, provider_type="anthropic"), prices=BOOK)
    with pytest.raises(ModelNotFound, match="supports /v1/embeddings"):
        plan_for(Selector(), snapshot, account=STRICT, endpoint="embeddings")


def test_an_endpoint_that_only_deployments_without_prices_serve_is_refused() -> None:
    snapshot = snapshot_of(priced("a", 1, provider_type="anthropic"), unpriced("b", 2), prices=BOOK)
    with pytest.raises(ModelNotPriced):
        plan_for(Selector(), snapshot, account=STRICT, endpoint="embeddings")


def test_what_is_stored_at_a_provider_without_prices_cannot_be_used() -> None:
    snapshot = snapshot_of(priced("a", 1), unpriced("b", 2), prices=BOOK)

    def plan(provider_id: int) -> list[str]:
        request = BoundRequest(
            endpoint="responses",
            model="m",
            stream=False,
            wants_usage=False,
            fields={},
            stateful_field="previous_response_id",
            provider_id=provider_id,
        )
        return keys_of(make_plan(Selector(), snapshot, STRICT, find_route(snapshot, "m"), request, ()))

    assert plan(1) == ["a"]
    with pytest.raises(BadRequest, match="does not serve the model"):
        plan(2)


def test_task_types_use_models_with_prices() -> None:
    snapshot = snapshot_of(
        unpriced("a", 1),
        priced("b", 2, public="n"),
        tasks=(TaskType(id=1, name="t", models=("m", "n")),),
        prices=BOOK,
    )
    for account, found in ((STRICT, ["n"]), (ANONYMOUS, ["m", "n"])):
        assert [route.model for route in task_routes(snapshot, account, "t", "chat/completions", 0)] == found


def test_models_whose_requests_would_all_be_refused_are_not_listed() -> None:
    snapshot = snapshot_of(
        priced("a", 1),
        unpriced("b", 2, public="n"),
        unpriced("c", 3, public="o"),
        unpriced("d", 4, public="drained", weight=0),
        models=(model("o", fallbacks=("m",)),),
        prices=BOOK,
    )
    assert priced_models(snapshot, STRICT, ["m", "n", "o", "drained"], 0) == ["m", "o", "drained"]
    narrow = Principal(credential(require_pricing=True, allowed_models=("o",)))
    assert priced_models(snapshot, narrow, ["o"], 0) == []


def test_a_route_whose_deployments_all_have_prices_is_used_as_it_is() -> None:
    route = find_route(snapshot_of(priced("a", 1), priced("b", 2), prices=BOOK), "m")
    assert route.priced(0) is route
    some = find_route(snapshot_of(priced("a", 1), unpriced("b", 2), prices=BOOK), "m")
    assert some.priced(0) is some.priced(1)
