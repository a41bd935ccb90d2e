"""Costs at the query gateway: estimates, dry runs and ceilings, exact and never 0 where a price is not known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.gateway_process import accepted, accepted_text
from tests.e2e.query_setup import QuerySetup
from tests.fakes.script import Script, Tokens
from tests.fakes.upstream import FakeUpstream

ESTIMATE_FIELDS = {
    "estimated_cost_usd", "unpriced", "highest_cost_usd", "unbounded", "input_tokens", "output_tokens",
    "total_tokens", "input_tokens_source", "output_tokens_source", "price_source", "price_version",
}  # fmt: skip
WHOLE_FIELDS = ESTIMATE_FIELDS | {
    "model",
    "model_version",
    "provider",
    "task_type",
    "currency",
    "request_id",
}
DRY_FIELDS = WHOLE_FIELDS | {"dry_run", "valid", "within_budget", "max_cost_usd", "tenant"}
GATEWAY = "/v1/gateway/query"
ESTIMATE = "/v1/gateway/cost-estimate"


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[QuerySetup]:
    made = QuerySetup(tmp_path_factory.mktemp("query-costs"), fake)
    yield made
    made.close()


def exact(text: str) -> Any:
    """Return JSON with its numbers as they were written."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def calls(setup: QuerySetup) -> int:
    return sum(len(lane.chats) for lane in setup.lanes.values())


def test_s3_22_an_estimate_calls_nobody(setup: QuerySetup) -> None:
    before = calls(setup)
    response = setup.post(
        ESTIMATE,
        query="Your query text",
        model="openai",
        model_version="gpt-4o",
        expected_response_tokens=100,
        request_id="e-1",
    )
    estimate = exact(accepted_text(response))
    assert set(estimate) == WHOLE_FIELDS
    assert (estimate["model"], estimate["model_version"], estimate["provider"]) == (
        "openai",
        "gpt-4o",
        "openai",
    )
    assert (estimate["output_tokens"], estimate["output_tokens_source"]) == (100, "expected")
    # USD for a million tokens: 2.5 and 10.
    cost = (estimate["input_tokens"] * Decimal("2.5") + 100 * 10) / 1_000_000
    assert estimate["estimated_cost_usd"] == cost
    assert (estimate["currency"], estimate["request_id"]) == ("USD", "e-1")
    assert (estimate["highest_cost_usd"], "max_tokens" in estimate["unbounded"]) == (None, True)
    assert calls(setup) == before
    assert setup.gateway.usage_rows(request_id=response.headers["x-request-id"]) == []
    line = setup.gateway.access_line(response.headers["x-request-id"])
    assert (line["endpoint"], line["error_type"], line["client_request_id"]) == (ESTIMATE, "dry_run", "e-1")


def test_s3_22_a_limit_bounds_the_estimate(setup: QuerySetup) -> None:
    estimate = setup.estimate("x", model="openai", model_version="gpt-4o", max_tokens=50)
    assert (estimate["output_tokens"], estimate["output_tokens_source"]) == (50, "limit")
    assert estimate["highest_cost_usd"] > estimate["estimated_cost_usd"]
    nothing = setup.estimate("x", model="openai", expected_response_tokens=0)
    assert nothing["output_tokens"] == 0
    assumed = setup.estimate("x", model="openai")
    assert (assumed["output_tokens"], assumed["output_tokens_source"]) == (1024, "assumed")


def test_s3_22_an_unknown_price_is_null_with_its_reason(setup: QuerySetup) -> None:
    model, lane = setup.provider()
    response = setup.post(ESTIMATE, query="x", model=model)
    estimate = accepted(response)
    assert (estimate["estimated_cost_usd"], estimate["highest_cost_usd"]) == (None, None)
    assert estimate["unpriced"] == "unknown_provider"
    answer = setup.query("x", model=model)
    assert (answer["cost_usd"], answer["unpriced"]) == (None, "unknown_provider")
    assert answer["cost_estimate"]["estimated_cost_usd"] is None
    assert len(lane.chats) == 1


@pytest.mark.parametrize("field", ["query", "expected_response_tokens", "model_version", "tenant"])
def test_s3_22_bad_estimates_are_refused(setup: QuerySetup, field: str) -> None:
    bad = {
        "query": "",
        "expected_response_tokens": -1,
        "model_version": 4,
        "tenant": "estimates have no tenant",
    }
    body = {"query": "x", "model": "openai"} | {field: bad[field]}
    response = setup.gateway.post(ESTIMATE, setup.key, json=body)
    assert (response.status_code, response.json()["param"]) == (400, field)


@pytest.mark.parametrize("ceiling", [0.10, "0.10", 1, 0.30000000000000004])
def test_s3_23_a_dry_run_says_whether_the_query_would_be_sent(setup: QuerySetup, ceiling: Any) -> None:
    before = calls(setup)
    response = setup.post(
        GATEWAY, query="x", model="openai", dry_run=True, max_cost_usd=ceiling, tenant="internal"
    )
    answer = accepted(response)
    assert set(answer) == DRY_FIELDS
    assert (answer["dry_run"], answer["valid"], answer["within_budget"]) == (True, True, True)
    assert (answer["tenant"], answer["max_cost_usd"]) == ("internal", pytest.approx(float(ceiling)))
    assert 0 < answer["estimated_cost_usd"] <= answer["highest_cost_usd"]
    assert calls(setup) == before
    poor = setup.query("x", model="openai", dry_run=True, max_cost_usd="0.000000001")
    assert poor["within_budget"] is False
    streamed = setup.post(GATEWAY, query="x", model="openai", dry_run=True, stream=True)
    assert streamed.headers["content-type"] == "application/json"
    by_header = setup.post(GATEWAY, query="x", model="openai", headers={"x-llm-gateway-dry-run": "true"})
    assert by_header.json()["dry_run"] is True


def test_s3_23_a_dry_run_agrees_with_the_query_itself(setup: QuerySetup) -> None:
    # Less than 4096 tokens cost, which is what an answer may have if nothing limits it.
    for ceiling in (0.01, 0.001, 0.000001):
        asked: dict[str, Any] = {"query": "x", "model": "openai", "max_cost_usd": ceiling}
        dry = accepted(setup.post(GATEWAY, **asked, dry_run=True))
        sent = setup.post(GATEWAY, **asked)
        assert dry["within_budget"] is sent.is_success
        if sent.is_success:
            assert dry["highest_cost_usd"] == sent.json()["cost_estimate"]["highest_cost_usd"] <= ceiling


@pytest.mark.parametrize("path", [GATEWAY, "/api/query"])
def test_s3_23_a_dry_run_knows_a_ceiling_that_is_a_header(setup: QuerySetup, path: str) -> None:
    headers = {"x-llm-gateway-dry-run": "true", "x-llm-gateway-max-cost-usd": "+1e-9"}
    answer = accepted(setup.post(path, query="x", model="openai", headers=headers))
    assert (answer["within_budget"], answer["max_cost_usd"]) == (False, 1e-9)


def test_s3_24_what_is_too_dear_is_refused_before_it_is_sent(setup: QuerySetup) -> None:
    before = calls(setup)
    response = setup.post(GATEWAY, query="x", model="openai", max_cost_usd=0.000001, request_id="mine")
    error = response.json()
    assert (response.status_code, error["error_type"], error["code"]) == (
        402,
        "cost_limit",
        "max_cost_exceeded",
    )
    assert "max_cost_usd allows 0.000001 USD" in error["error"]
    assert error["request_id"] == "mine"
    row = setup.row(response)
    assert (row["status_code"], row["response_bytes"]) == (402, len(response.content))
    model, lane = setup.provider()
    unknown = setup.post(GATEWAY, query="x", model=model, max_cost_usd=1)
    assert (unknown.status_code, unknown.json()["code"]) == (402, "max_cost_unknown")
    assert (calls(setup), lane.chats) == (before, [])


def test_s3_24_an_answer_is_no_longer_than_its_ceiling_pays_for(setup: QuerySetup) -> None:
    lane = setup.lanes["openai"]
    # 4096 tokens of an answer would cost 0.04 USD.
    answer = setup.query("short", model="openai", model_version="gpt-4o", max_cost_usd="0.001")
    limit = lane.last.json["max_completion_tokens"]
    assert 50 < limit < 100
    assert answer["cost_estimate"]["output_tokens"] == limit
    assert answer["cost_estimate"]["highest_cost_usd"] <= 0.001
    # A limit of the client's own is not changed.
    refused = setup.post(
        GATEWAY, query="short", model="openai", model_version="gpt-4o", max_cost_usd="0.001", max_tokens=4096
    )
    assert refused.status_code == 402
    allowed = setup.query(
        "short", model="openai", model_version="gpt-4o", max_cost_usd="0.001", max_tokens=60
    )
    assert (allowed["cached"], lane.last.json["max_completion_tokens"]) == (False, 60)


def test_s3_24_the_ceiling_holds_for_the_models_that_follow(setup: QuerySetup) -> None:
    setup.lanes["openai"].next.append(Script(status=500, body=b"{}"))
    answer = setup.query("follow", model="openai", max_cost_usd="0.01")
    assert answer["original_model"] == "openai"
    assert answer["cost_estimate"]["highest_cost_usd"] <= 0.01
    assert answer["cost_usd"] <= 0.01


def test_s3_21_costs_are_exact_to_the_nano_dollar(setup: QuerySetup) -> None:
    model, _ = setup.provider(Script(tokens=Tokens(prompt=7, completion=3, cached=0, reasoning=0)))
    override = {
        "provider": model,
        "upstream_model": f"{model}-up",
        "prices": {"input_tokens": "0.143", "output_tokens": "0.333"},
    }
    accepted(setup.gateway.admin.post("/prices", json=override))
    response = setup.post(GATEWAY, query="exactly", model=model)
    answer = exact(accepted_text(response))
    assert answer["cost_usd"] == Decimal("0.000002")
    assert setup.row(response)["cost_usd"] == "0.000002"
