"""Every error that a client of the query gateway may get: its status, its fields, and a sentence for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.gateway_process import accepted
from tests.e2e.query_setup import ERROR_FIELDS, QuerySetup
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream

SECRETS = ("sk-upstream", "http://127")
GATEWAY = "/v1/gateway/query"
PATHS = ("/api/query", GATEWAY)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[QuerySetup]:
    made = QuerySetup(tmp_path_factory.mktemp("query-errors"), fake, LLM_TIMEOUT=1, MAX_BODY_BYTES=100_000)
    yield made
    made.close()


def check_error(response: httpx.Response, status: int, kind: str, code: str | None) -> dict[str, Any]:
    """Check what all errors have in common, and return the body."""
    error: dict[str, Any] = response.json()
    assert (response.status_code, error["error_type"], error["code"]) == (status, kind, code), error
    assert set(error) - {"retry_after"} == ERROR_FIELDS
    assert error["error"].endswith((".", ")"))
    assert response.headers["content-type"] == "application/json"
    assert not any(secret in response.text for secret in SECRETS)
    if "retry_after" in error:
        assert response.headers["retry-after"] == str(error["retry_after"])
    return error


def check_row(setup: QuerySetup, response: httpx.Response, outcome: str) -> None:
    row = setup.row(response)
    assert (row["status_code"], row["outcome"]) == (response.status_code, outcome)
    assert (row["response_bytes"], row["client_request_id"]) == (len(response.content), "mine")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("script", "status", "kind", "code", "words"),
    [
        (Script(delay=3), 504, "timeout", "upstream_timeout", "took too long"),
        (error_script(429, retry_after="7"), 429, "rate_limit", "rate_limit_exceeded", "in 7 seconds"),
        (error_script(429), 429, "rate_limit", "rate_limit_exceeded", "too many requests"),
        (error_script(500), 502, "provider_error", "upstream_error", "not available at the moment"),
        (error_script(503), 503, "unavailable", "upstream_unavailable", "overloaded"),
        (error_script(401), 502, "provider_error", "upstream_key_refused", "not available at the moment"),
        (error_script(403), 403, "provider_refused", "model_access_denied", "refused the query"),
        (error_script(400), 400, "provider_refused", "invalid_value", "refused the query"),
        (Script(fault="reset"), 502, "provider_error", "upstream_cut", "not available"),
        (Script(body=b"<html>"), 502, "provider_error", "upstream_bad_reply", "not available"),
    ],
    ids=["timeout", "429-7", "429", "500", "503", "401", "403", "400", "reset", "html"],
)
def test_s3_9_s3_11_errors_of_a_provider(
    setup: QuerySetup, path: str, script: Script, status: int, kind: str, code: str, words: str
) -> None:
    model, _ = setup.provider(script)
    response = setup.post(path, query="fail", model=model, request_id="mine")
    error = check_error(response, status, kind, code)
    assert words in error["error"]
    assert error["request_id"] == "mine"
    check_row(setup, response, "error")
    if words == "in 7 seconds":
        assert (response.headers["retry-after"], error["retry_after"]) == ("7", 7)


# Codes of what is wrong with a body, by what its message says.
CODES = {
    "is missing": "missing_required_parameter",
    "expected ": "invalid_type",
    "JSON object": "invalid_type",
    "is not known": "unknown_parameter",
    "Known fields": "unknown_parameter",
    "not valid JSON": "invalid_json",
}
BODIES: list[tuple[str, Any, str | None, str]] = [
    ("missing", {}, "query", "is missing"),
    ("empty", {"query": ""}, "query", "is empty"),
    ("blank", {"query": " \n"}, "query", "is empty"),
    ("null", {"query": None}, "query", "expected str"),
    ("number", {"query": 1}, "query", "expected str"),
    ("model", {"query": "x", "model": 4}, "model", "expected str"),
    ("unknown", {"query": "x", "modle": "openai"}, "modle", "Known fields: query, model"),
    ("task", {"query": "x", "task_type": "dancing"}, "task_type", "question_answering, sentiment_analysis"),
    ("negative", {"query": "x", "max_tokens": -1}, "max_tokens", "1 to 1000000"),
    ("huge", {"query": "x", "max_tokens": 10**12}, "max_tokens", "1 to 1000000"),
    ("hot", {"query": "x", "temperature": 2.1}, "temperature", "0 to 2"),
    ("stream", {"query": "x", "stream": "yes"}, "stream", "expected bool"),
    ("long id", {"query": "x", "request_id": "i" * 129}, "request_id", "at most 128"),
    ("line break", {"query": "x", "request_id": "a\nb"}, "request_id", "printable"),
    ("list", ["query"], None, "JSON object"),
]


def code_of(words: str) -> str:
    return next((code for said, code in CODES.items() if words.startswith(said)), "invalid_request")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "param", "words"), [one[1:] for one in BODIES], ids=[one[0] for one in BODIES]
)
def test_s3_19_s3_21_bad_bodies_are_refused_with_the_field(
    setup: QuerySetup, path: str, body: Any, param: str | None, words: str
) -> None:
    response = setup.gateway.post(path, setup.key, json=body)
    error = check_error(response, 400, "invalid_request", code_of(words))
    assert error["param"] == param
    assert words in error["error"]
    assert error["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_cost_usd", -0.01, "must not be negative"),
        ("max_cost_usd", "ten", "amount in USD"),
        ("max_cost_usd", True, "amount in USD"),
        ("max_cost_usd", 1e300, "must be at most"),
        ("dry_run", "true", "expected bool"),
        ("tenant", "t" * 257, "at most 256"),
        ("model_version", "openai", "send that as 'model'"),
        ("expected_response_tokens", 5, "is not known"),
    ],
)
def test_s3_21_bad_fields_of_a_gateway_query(setup: QuerySetup, field: str, value: Any, words: str) -> None:
    response = setup.post(GATEWAY, query="x", **{field: value})
    error = check_error(response, 400, "invalid_request", code_of(words))
    assert (error["param"], words in error["error"]) == (field, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "not valid JSON"),
        (b'{"query": NaN}', "not valid JSON"),
        (b'{"query": "\xff"}', "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"query":' + b"[" * 10_000, "expected str"),
    ],
)
def test_s3_11_bodies_that_are_not_json(setup: QuerySetup, body: bytes, words: str) -> None:
    for path in (*PATHS, "/v1/gateway/cost-estimate"):
        response = setup.gateway.post(path, setup.key, content=body)
        assert words in check_error(response, 400, "invalid_request", code_of(words))["error"]


def test_s3_11_a_model_that_nobody_has(setup: QuerySetup) -> None:
    response = setup.post("/api/query", query="x", model="nobody-has-it", request_id="mine")
    error = check_error(response, 404, "not_found", "model_not_found")
    assert (error["param"], "nobody-has-it" in error["error"]) == ("model", True)
    check_row(setup, response, "rejected")
    response = setup.post(GATEWAY, query="x", model="deepseek", request_id="mine")
    error = check_error(response, 404, "not_found", "model_not_found")
    assert "Available are: openai, gemini, mistral, claude." in error["error"]
    check_row(setup, response, "rejected")


def test_s3_11_keys_and_rights(setup: QuerySetup) -> None:
    for path in (*PATHS, "/v1/gateway/cost-estimate"):
        response = setup.gateway.post(path, None, json={"query": "x"})
        check_error(response, 401, "authentication", "invalid_api_key")
        response = setup.gateway.post(path, "sk-wrong", json={"query": "x"})
        check_error(response, 401, "authentication", "invalid_api_key")
    narrow = setup.gateway.create_credential("narrow", allowed_models=["claude-*"])
    response = setup.post(GATEWAY, query="x", model="openai", key=narrow, request_id="mine")
    error = check_error(response, 403, "permission", "model_not_allowed")
    assert (error["param"], error["request_id"]) == ("model", "mine")
    check_row(setup, response, "rejected")
    # Of a task's models it gets the first that it may use.
    assert setup.query("x", key=narrow)["model"] == "claude"


def test_s3_11_limits_of_the_credential(setup: QuerySetup) -> None:
    key = setup.gateway.create_credential("slow", rate_limit=1)
    answers = [setup.post("/api/query", query="quick", key=key, request_id="mine") for _ in range(3)]
    response = next(one for one in answers if one.status_code != 200)
    error = check_error(response, 429, "rate_limit", "rate_limit_exceeded")
    assert error["error"].startswith("Too many requests: try again in ")
    assert int(response.headers["retry-after"]) == error["retry_after"] >= 1
    check_row(setup, response, "rejected")


def test_s3_11_a_budget_that_is_used_up(setup: QuerySetup) -> None:
    key = setup.gateway.create_credential("poor")
    budget = {"name": "tiny", "scope": "credential", "subject": "poor", "amount_usd": "0.00000001"}
    accepted(setup.gateway.admin.post("/budgets", json=budget | {"period": "day"}))
    response = setup.post("/api/query", query="dear", model="openai", key=key, request_id="mine")
    error = response.json()
    assert (response.status_code, error["error_type"], error["code"]) == (429, "quota", "insufficient_quota")
    assert {"scope", "limit", "used", "held", "reset_at"} <= set(error)
    assert "retry-after" not in response.headers
    check_row(setup, response, "rejected")


def test_s3_11_paths_and_methods(setup: QuerySetup) -> None:
    for path in (*PATHS, "/v1/gateway/cost-estimate"):
        response = setup.gateway.http.get(path)
        check_error(response, 405, "invalid_request", "method_not_allowed")
        assert response.headers["allow"] == "POST"
    response = setup.gateway.http.post("/api/status")
    check_error(response, 405, "invalid_request", "method_not_allowed")
    response = setup.gateway.http.post("/v1/gateway/nothing")
    assert response.status_code == 404


def test_s3_11_a_body_that_is_too_large(setup: QuerySetup) -> None:
    response = setup.post("/api/query", query="x" * 200_000)
    check_error(response, 413, "invalid_request", "request_too_large")


def test_s3_24_both_a_header_and_a_field_for_the_ceiling(setup: QuerySetup) -> None:
    headers = {"x-llm-gateway-max-cost-usd": "0.5"}
    response = setup.post(GATEWAY, query="x", model="openai", max_cost_usd=0.1, headers=headers)
    check_error(response, 400, "invalid_request", "invalid_request")
    assert setup.query("by header", model="openai", headers=headers)["finish_reason"] == "stop"
