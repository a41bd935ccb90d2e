"""Clients of the query gateway get what its documentation says: answers by family and task, cache, streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.gateway_process import accepted
from tests.e2e.query_setup import (
    ERROR_FIELDS,
    GATEWAY_FIELDS,
    LEGACY_FIELDS,
    SERVED,
    QuerySetup,
    events_of,
)
from tests.fakes.script import Script, Tokens, error_script
from tests.fakes.upstream import FakeUpstream

CUT = Script(pieces=("one ", "two "), fault="reset", fault_at=3)
UNCOUNTED = Script(
    body=b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"four"},"finish_reason":"stop"}]}'
)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[QuerySetup]:
    made = QuerySetup(tmp_path_factory.mktemp("query"), fake)
    yield made
    made.close()


def test_s3_19_s3_30_a_legacy_query_has_every_field(setup: QuerySetup) -> None:
    response = setup.post("/api/query", query="hello", model="openai", request_id="legacy-1")
    answer = accepted(response)
    assert set(answer) == LEGACY_FIELDS
    assert answer["response"].endswith("says: hello")
    assert (answer["model"], answer["model_version"], answer["provider"]) == ("openai", "gpt-4o", "openai")
    assert (answer["original_model"], answer["task_type"], answer["num_retries"]) == (None, None, 0)
    assert (answer["input_tokens"], answer["output_tokens"], answer["total_tokens"]) == (9, 4, 13)
    assert (answer["num_tokens"], answer["token_source"], answer["cached"]) == (13, "provider", False)
    assert (answer["request_id"], answer["finish_reason"]) == ("legacy-1", "stop")
    assert isinstance(answer["response_time_ms"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["timestamp"])
    sent = setup.lanes["openai"].last.json
    assert sent == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    row = setup.row(response)
    assert (row["client_request_id"], row["endpoint"], row["model"]) == ("legacy-1", "/api/query", "gpt-4o")
    assert (row["response_bytes"], row["total_tokens"]) == (len(response.content), 13)


def test_s3_21_a_gateway_query_has_costs_and_metrics(setup: QuerySetup) -> None:
    response = setup.post(
        "/v1/gateway/query",
        query="hello there",
        model="openai",
        model_version="gpt-4o",
        task_type="text_generation",
        max_cost_usd=0.10,
        dry_run=False,
        tenant="internal",
        request_id="gateway-1",
    )
    answer = accepted(response)
    assert set(answer) == GATEWAY_FIELDS
    assert (answer["tenant"], answer["request_id"]) == ("internal", "gateway-1")
    row = setup.row(response)
    assert (row["tenant"], row["client_request_id"]) == ("internal", "gateway-1")
    assert f'"cost_usd":{row["cost_usd"]},' in response.text
    assert answer["unpriced"] is None
    metrics = answer["metrics"]
    assert set(metrics) == {
        "latency_ms", "upstream_latency_ms", "gateway_latency_ms", "attempts", "cache", "cached_input_tokens",
        "reasoning_tokens",
    }  # fmt: skip
    assert (metrics["attempts"], metrics["cache"]) == (1, "miss")
    assert 0 < metrics["upstream_latency_ms"] < metrics["latency_ms"]
    estimate = answer["cost_estimate"]
    assert 0 < estimate["estimated_cost_usd"] <= estimate["highest_cost_usd"] <= 0.10
    assert (estimate["output_tokens"], estimate["output_tokens_source"]) == (4096, "limit")
    assert setup.lanes["openai"].last.json["max_completion_tokens"] == 4096


@pytest.mark.parametrize("family", SERVED)
def test_s3_1_s3_14_each_family_is_asked_by_its_name(setup: QuerySetup, family: str) -> None:
    answer = setup.legacy(f"which of them is {family}", model=family)
    assert (answer["model"], answer["model_version"]) == (family, SERVED[family][0])
    assert setup.lanes[family].last.json["model"] == SERVED[family][0]


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("text_generation", "openai"),
        ("summarization", "claude"),
        ("sentiment_analysis", "gemini"),
        ("question_answering", "mistral"),
        (None, "openai"),
        ("", "openai"),
    ],
)
def test_s3_2_task_types_choose_the_model(setup: QuerySetup, task: str | None, family: str) -> None:
    for answer in (setup.legacy(f"task {task}", task_type=task), setup.query(f"a {task}", task_type=task)):
        assert (answer["model"], answer["task_type"]) == (family, task or None)


def test_s3_2_the_catalog_s_task_types_come_first(setup: QuerySetup) -> None:
    model, lane = setup.provider()
    body = {"name": "translation", "models": ["nobody-has-it", model, "gpt-4o"]}
    accepted(setup.gateway.admin.post("/task-types", json=body))
    answer = setup.legacy("translate", task_type="translation")
    assert (answer["model"], answer["provider"]) == (model, model)
    lane.next.append(error_script(500))
    answer = setup.legacy("translate that", task_type="translation")
    assert (answer["model"], answer["original_model"], answer["num_retries"]) == ("gpt-4o", model, 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_s3_3_s3_10_another_family_answers_if_one_fails(setup: QuerySetup, streamed: bool) -> None:
    setup.lanes["gemini"].next.append(error_script(500))
    response = setup.post("/v1/gateway/query", query=f"fall {streamed}", model="gemini", stream=streamed)
    answer = events_of(response.text)[-2] if streamed else accepted(response)
    assert (answer["model"], answer["original_model"]) == ("openai", "gemini")
    assert (answer["num_retries"], answer["metrics"]["attempts"]) == (1, 2)
    row = setup.row(response)
    assert (row["attempts"], row["provider"], row["upstream_model"]) == (2, "openai", "gpt-4o")
    # It is not cached as the answer of the family that failed.
    assert setup.query(f"fall {streamed}", model="gemini", stream=False)["model"] == "gemini"


def test_s3_3_a_model_that_is_named_has_no_other_family_s_answer(setup: QuerySetup) -> None:
    setup.lanes["gemini"].next.append(error_script(500))
    response = setup.post(
        "/v1/gateway/query", query="exact", model="gemini", model_version=SERVED["gemini"][0]
    )
    assert (response.status_code, response.json()["error_type"]) == (502, "provider_error")


def test_s3_5_s3_16_a_repeated_query_is_cached_whatever_its_request_id(setup: QuerySetup) -> None:
    def ask(**fields: Any) -> tuple[bool, int]:
        answer = setup.query("cache me", model="mistral", **fields)
        return answer["cached"], answer["total_tokens"]

    assert ask(request_id="first") == (False, 13)
    cached = setup.post("/v1/gateway/query", query="cache me", model="mistral", request_id="second")
    answer = accepted(cached)
    assert (answer["cached"], answer["request_id"], answer["cost_usd"]) == (True, "second", 0)
    assert (answer["metrics"]["cache"], answer["metrics"]["attempts"]) == ("hit", 0)
    assert (answer["model"], answer["provider"], answer["model_version"]) == (
        "mistral",
        "mistral",
        SERVED["mistral"][0],
    )
    row = setup.row(cached)
    assert (row["cache_hit"], row["client_request_id"], row["cost_usd"]) == (True, "second", "0")
    assert row["response_bytes"] == len(cached.content)
    assert ask(task_type="summarization") == (False, 13)
    assert ask(task_type="summarization") == (True, 13)
    assert ask(model_version=SERVED["mistral"][0]) == (False, 13)
    # By the legacy path, too, and for each credential by itself.
    assert setup.legacy("cache me", model="mistral")["cached"] is True
    other = setup.gateway.create_credential("another client")
    assert setup.query("cache me", model="mistral", key=other)["cached"] is False
    fresh = setup.post(
        "/api/query", query="cache me", model="mistral", headers={"x-llm-gateway-cache": "off"}
    )
    assert accepted(fresh)["cached"] is False


def test_s3_5_a_cached_stream_has_the_same_events(setup: QuerySetup) -> None:
    first, second = (
        events_of(setup.post("/api/query", query="stream twice", model="openai", stream=True).text)
        for _ in range(2)
    )
    assert "".join(one["response"] for one in first[:-1]).endswith("says: stream twice")
    assert [one["response"] for one in first[:-1]] == [one["response"] for one in second[:-1]]
    assert (first[-2]["cached"], second[-2]["cached"]) == (False, True)


def test_s3_21_a_stream_ends_with_the_fields_of_an_answer(setup: QuerySetup) -> None:
    response = setup.post("/v1/gateway/query", query="go on", model="claude", stream=True, request_id="s-1")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *texts, last, done = events_of(response.text)
    assert (done, "".join(one["response"] for one in texts).endswith("says: go on")) == ("[DONE]", True)
    assert all(set(one) == {"response"} for one in texts)
    assert (set(last), last["response"], last["request_id"]) == (GATEWAY_FIELDS, "", "s-1")
    assert (last["total_tokens"], last["finish_reason"]) == (13, "stop")
    row = setup.row(response)
    assert (row["response_bytes"], row["stream"]) == (len(response.content), True)


def test_s3_11_a_stream_that_fails_ends_with_an_error_and_not_with_done(setup: QuerySetup) -> None:
    model, _ = setup.provider(CUT)
    response = setup.post("/api/query", query="go on", model=model, stream=True, request_id="s-2")
    *texts, last = events_of(response.text)
    assert [one["response"] for one in texts] == ["one ", "two "]
    assert set(last) - {"retry_after"} == ERROR_FIELDS
    assert (last["error_type"], last["code"], last["request_id"]) == ("provider_error", "upstream_cut", "s-2")
    row = setup.row(response)
    assert (row["outcome"], row["response_bytes"]) == ("error", len(response.content))


def test_s3_26_s3_27_tokens_that_no_provider_states_are_estimated(setup: QuerySetup) -> None:
    model, _ = setup.provider(UNCOUNTED)
    answer = setup.legacy("count me", model=model)
    assert (answer["response"], answer["token_source"]) == ("four", "estimated")
    assert answer["input_tokens"] + answer["output_tokens"] == answer["total_tokens"] == answer["num_tokens"]
    assert answer["output_tokens"] > 0


def test_s3_26_s3_30_a_breakdown_of_large_numbers(setup: QuerySetup) -> None:
    model, _ = setup.provider(Script(tokens=Tokens(prompt=2000, completion=300, cached=1024, reasoning=64)))
    answer = setup.query("break it down", model=model)
    assert (answer["input_tokens"], answer["output_tokens"], answer["num_tokens"]) == (2000, 300, 2300)
    assert answer["metrics"]["cached_input_tokens"] == 1024
    assert answer["metrics"]["reasoning_tokens"] == 64


def test_s3_25_a_credential_s_own_tenant_counts_first(setup: QuerySetup) -> None:
    accepted(setup.gateway.admin.post("/tenants", json={"name": "owner"}))
    key = setup.gateway.create_credential("owned", tenant="owner")
    response = setup.post("/v1/gateway/query", query="whose", model="openai", tenant="internal", key=key)
    assert (response.json()["tenant"], setup.row(response)["tenant"]) == ("internal", "owner")


def test_s3_13_the_header_s_request_id_is_the_row_s_and_the_body_s_comes_back(setup: QuerySetup) -> None:
    headers = {"x-request-id": "of-the-header"}
    response = setup.post(
        "/api/query", query="ids", model="openai", request_id="of-the-body", headers=headers
    )
    assert response.json()["request_id"] == "of-the-body"
    assert setup.row(response)["client_request_id"] == "of-the-header"
    response = setup.post("/api/query", query="ids", model="openai", headers=headers)
    assert response.json()["request_id"] == "of-the-header"
    response = setup.post("/api/query", query="ids", model="openai")
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_s3_21_a_version_decides_and_must_be_of_its_family(setup: QuerySetup) -> None:
    accepted(
        setup.gateway.admin.patch(
            "/providers/openai", json={"model_mapping": {"gpt-4o": "gpt-4o", "fast": "gpt-4o-mini"}}
        )
    )
    answer = setup.query("by its version", model="openai", model_version="gpt-4o-mini")
    assert (answer["model"], answer["model_version"]) == ("openai", "gpt-4o-mini")
    answer = setup.query("by its public name", model_version="fast")
    assert (answer["model"], answer["model_version"]) == ("fast", "gpt-4o-mini")
    refused = setup.post("/v1/gateway/query", query="mixed up", model="claude", model_version="gpt-4o")
    assert (refused.status_code, refused.json()["param"]) == (400, "model_version")
    assert "of the family 'openai'" in refused.json()["error"]
    missing = setup.post("/v1/gateway/query", query="none", model="openai", model_version="gpt-99")
    assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")
    assert "gpt-99" in missing.json()["error"]


def test_s3_20_the_status_of_all_providers(setup: QuerySetup) -> None:
    setup.provider()
    down, lane = setup.provider()
    lane.models_script = Script(status=500, body=b"{}")
    response = setup.gateway.http.get("/api/status", headers={"authorization": f"Bearer {setup.key}"})
    status = accepted(response)
    assert status["status"] == "degraded"
    assert [status[family] for family in ("openai", "gemini", "mistral", "claude", "deepseek")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert status["providers"][down]["status"] == "unhealthy"
    one = status["providers"]["openai"]
    assert (set(one), one["status"], one["error"]) == (
        {"status", "latency_ms", "checked_at", "error"},
        "healthy",
        None,
    )
    assert "http" not in response.text
    assert "sk-upstream" not in response.text
    refused = setup.gateway.http.get("/api/status")
    assert (refused.status_code, set(refused.json())) == (401, ERROR_FIELDS)
