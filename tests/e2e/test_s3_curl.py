"""S3's documented requests, sent as they are printed, and every field of their answers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.curl import CurlShell
from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.script import Script, Tokens, error_body
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

FAMILIES = ("openai", "gemini", "mistral", "claude")
TASKS = ("text_generation", "summarization", "sentiment_analysis", "question_answering")
TOKENS = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
# The document prints these bodies, with comments and alternatives; here is one alternative of each.
QUERY = """
curl -X POST http://localhost:8080/api/query -H "Content-Type: application/json" \\
  -d '{
      "query": "Your query text",
      "model": "openai",
      "task_type": "text_generation",
      "request_id": "optional-request-id-for-tracking"
    }'
"""
GATEWAY_QUERY = """
curl -X POST http://localhost:8080/v1/gateway/query -H "Content-Type: application/json" \\
  -d '{
      "query": "Your query text",
      "model": "openai",
      "model_version": "gpt-4o",
      "task_type": "text_generation",
      "max_cost_usd": 0.10,
      "dry_run": false,
      "tenant": "internal",
      "request_id": "optional-request-id"
    }'
"""
ESTIMATE = """
curl -X POST http://localhost:8080/v1/gateway/cost-estimate -H "Content-Type: application/json" \\
  -d '{
      "query": "Your query text",
      "model": "openai",
      "model_version": "gpt-4o",
      "expected_response_tokens": 100
    }'
"""
STATUS = "curl http://localhost:8080/api/status"
ANSWER = {
    "response", "model", "model_version", "original_model", "provider", "task_type", "num_tokens", "input_tokens",
    "output_tokens", "total_tokens", "token_source", "response_time_ms", "num_retries", "cached", "finish_reason",
    "timestamp", "request_id",
}  # fmt: skip
COSTS = {"tenant", "cost_usd", "unpriced", "cost_estimate", "metrics"}
ESTIMATED = {
    "estimated_cost_usd", "unpriced", "highest_cost_usd", "unbounded", "input_tokens", "output_tokens",
    "total_tokens", "input_tokens_source", "output_tokens_source", "price_source", "price_version",
}  # fmt: skip


class QueryGateway:
    """A gateway that serves the four families, its providers, a shell and a credential."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.shell = CurlShell(gateway)
        self.lanes = {family: fake.lane(f"documented-s3-{family}") for family in FAMILIES}
        for family, lane in self.lanes.items():
            lane.default = Script(
                text=f"An answer of {family}.", tokens=Tokens(prompt=12, completion=5), delay=0.1
            )
            # All speak OpenAI's API here: whose API a family really has is not what these tests are about.
            mapping = {family: f"{family}-model"} | ({"gpt-4o": "gpt-4o"} if family == "openai" else {})
            gateway.create_provider(family, lane.base_url, model_mapping=mapping, price_provider="openai")
        self.key = gateway.create_credential("console")

    def json(self, command: str, status: int = 200) -> Any:
        """Run a command with the credential."""
        return self.shell.json(command, status, f"Authorization: Bearer {self.key}")


@pytest.fixture(scope="module")
def queries(fake: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryGateway]:
    """Return a gateway."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("documented-s3"), CACHE_ENABLED="false")
    try:
        yield QueryGateway(gateway.start(), fake)
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_s3_1_s3_19_a_query_of_every_family_and_task(queries: QueryGateway, family: str, task: str) -> None:
    command = QUERY.replace('"openai"', f'"{family}"').replace("text_generation", task)
    answer = queries.json(command)
    assert answer["response"] == f"An answer of {family}."
    assert queries.lanes[family].chats[-1].json["messages"][-1] == {
        "role": "user",
        "content": "Your query text",
    }


def test_s3_19_s3_26_s3_30_a_query_has_its_tokens_and_ids(queries: QueryGateway) -> None:
    answer = queries.json(QUERY)
    assert set(answer) == ANSWER
    assert {name: answer[name] for name in TOKENS} == TOKENS
    assert answer["num_tokens"] == answer["total_tokens"]
    assert answer["token_source"] == "provider"
    assert answer["request_id"] == "optional-request-id-for-tracking"
    assert (answer["model"], answer["provider"]) == ("openai", "openai")
    assert (answer["task_type"], answer["finish_reason"]) == ("text_generation", "stop")
    assert (answer["num_retries"], answer["cached"]) == (0, False)
    # Milliseconds, of which the provider takes 100.
    assert 100 <= answer["response_time_ms"] < 15_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["timestamp"])
    # Without what is optional.
    only = queries.json(QUERY.replace(QUERY[QUERY.index(',\n      "model"') : QUERY.index("\n    }'")], ""))
    assert only["response"].startswith("An answer of ")


def test_s3_21_s3_25_a_gateway_query_has_costs_and_metrics(queries: QueryGateway) -> None:
    answer = queries.json(GATEWAY_QUERY)
    assert set(answer) == ANSWER | COSTS
    assert answer["response"] == "An answer of openai."
    assert queries.lanes["openai"].chats[-1].json["model"] == "gpt-4o"
    assert {name: answer[name] for name in TOKENS} == TOKENS
    assert (answer["request_id"], answer["tenant"]) == ("optional-request-id", "internal")
    # USD: 10 tokens at 2.50, 2 cached ones at 1.25 and 5 at 10.00 a million.
    assert (answer["cost_usd"], answer["unpriced"]) == (0.0000775, None)
    assert set(answer["cost_estimate"]) == ESTIMATED
    assert 0 < answer["cost_usd"] < answer["cost_estimate"]["highest_cost_usd"] < 0.10
    metrics = answer["metrics"]
    assert set(metrics) >= {"latency_ms", "upstream_latency_ms", "gateway_latency_ms", "attempts", "cache"}
    assert 100 <= metrics["upstream_latency_ms"] <= metrics["latency_ms"] < 15_000
    assert metrics["attempts"] == 1
    [row] = queries.gateway.usage_rows(tenant="internal")
    assert row["endpoint"] == "/v1/gateway/query"
    assert row["client_request_id"] == "optional-request-id"
    assert row["cost_usd"] is not None


def test_s3_23_a_dry_run_calls_nobody(queries: QueryGateway) -> None:
    before = len(queries.lanes["openai"].chats)
    answer = queries.json(GATEWAY_QUERY.replace("false", "true"))
    assert len(queries.lanes["openai"].chats) == before
    assert "response" not in answer
    assert set(answer) >= ESTIMATED
    assert (answer["dry_run"], answer["within_budget"], answer["max_cost_usd"]) == (True, True, 0.1)
    assert (answer["model_version"], answer["tenant"]) == ("gpt-4o", "internal")
    assert (answer["currency"], answer["request_id"]) == ("USD", "optional-request-id")
    assert 0 < answer["estimated_cost_usd"] <= answer["highest_cost_usd"] < 0.10


def test_s3_24_a_query_that_may_cost_too_much_is_refused(queries: QueryGateway) -> None:
    before = len(queries.lanes["openai"].chats)
    refused = queries.json(GATEWAY_QUERY.replace("0.10", "0.0000001"), 402)
    assert set(refused) == {"error", "error_type", "code", "param", "request_id"}
    assert (refused["error_type"], refused["code"]) == ("cost_limit", "max_cost_exceeded")
    assert len(queries.lanes["openai"].chats) == before


def test_s3_22_an_estimate_has_tokens_and_costs(queries: QueryGateway) -> None:
    before = len(queries.lanes["openai"].chats)
    answer = queries.json(ESTIMATE)
    assert len(queries.lanes["openai"].chats) == before
    assert set(answer) >= ESTIMATED
    counted = answer["input_tokens"]
    assert (answer["output_tokens"], answer["total_tokens"]) == (100, counted + 100)
    # USD: 2.50 and 10.00 a million.
    assert answer["estimated_cost_usd"] == pytest.approx((counted * 2.5 + 100 * 10) / 1_000_000)
    assert (answer["currency"], answer["model_version"]) == ("USD", "gpt-4o")
    queries.json(ESTIMATE.replace('"gpt-4o"', '"no-such-version"'), 404)


def test_s3_20_the_status_of_every_provider(queries: QueryGateway) -> None:
    status = queries.json(STATUS)
    assert status["status"] == "healthy"
    assert set(status["providers"]) == set(FAMILIES)
    for family in FAMILIES:
        assert status[family] is True
        assert set(status["providers"][family]) == {"status", "latency_ms", "checked_at", "error"}
        assert status["providers"][family]["status"] == "healthy"
    shown = json.dumps(status)
    assert "sk-upstream-secret" not in shown
    assert "127.0.0.1" not in shown


@pytest.mark.parametrize("command", [QUERY, GATEWAY_QUERY, ESTIMATE, STATUS])
def test_s3_19_to_22_c27_a_credential_is_needed(queries: QueryGateway, command: str) -> None:
    refused = queries.shell.json(command, 401)
    assert set(refused) >= {"error", "error_type"}
    assert isinstance(refused["error"], str)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ('"Your query text"', '""', "query"),
        ('"Your query text"', "7", "query"),
        ('"query"', '"qeury"', "qeury"),
        ('"openai"', "[]", "model"),
    ],
)
@pytest.mark.parametrize("command", [QUERY, GATEWAY_QUERY, ESTIMATE])
def test_s3_11_a_faulty_body_is_explained(
    queries: QueryGateway, command: str, before: str, after: str, field: str
) -> None:
    refused = queries.json(command.replace(before, after, 1), 400)
    assert isinstance(refused["error"], str)
    assert field in json.dumps(refused)


def test_s3_11_a_failing_provider_is_explained_to_users(queries: QueryGateway) -> None:
    for lane in queries.lanes.values():
        lane.next.append(Script(status=500, body=error_body("segfault at 0x1234 in secret-backend")))
    try:
        failed = queries.json(QUERY, 502)
    finally:
        for lane in queries.lanes.values():
            lane.next.clear()
    assert "0x1234" not in json.dumps(failed)
    assert "Try again later" in failed["error"]
