"""What the query gateway's settings do: its cache, its retries, its log, and whether it is served at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Services
from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.query_setup import LEGACY_FIELDS, QuerySetup
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

Serve = Callable[..., QuerySetup]


@pytest.fixture
def serve(tmp_path: Path, fake: FakeUpstream) -> Iterator[Serve]:
    """Return a starter of gateways, which are stopped after the test."""
    started: list[QuerySetup] = []

    def start(**settings: object) -> QuerySetup:
        started.append(QuerySetup(tmp_path / f"query-{len(started)}", fake, **settings))
        return started[-1]

    yield start
    for setup in started:
        setup.close()


def query_lines(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in gateway.access_lines() if line.get("event") == "query"]


def test_s3_16_the_cache_is_off_and_on_by_its_settings(serve: Serve) -> None:
    setup = serve(CACHE_ENABLED="false")
    assert [setup.legacy("again", model="openai")["cached"] for _ in range(2)] == [False, False]
    headers = {"x-llm-gateway-cache": "on"}
    assert [setup.legacy("again", model="openai", headers=headers)["cached"] for _ in range(2)] == [
        False,
        True,
    ]
    setup = serve(CACHE_TTL="1")
    assert [setup.legacy("again", model="openai")["cached"] for _ in range(2)] == [False, True]
    eventually(lambda: setup.legacy("again", model="openai")["cached"], lambda cached: not cached, seconds=10)


def test_s3_8_s3_12_s3_17_retries_and_backoff_are_settings(serve: Serve) -> None:
    settings = {
        "MAX_RETRIES": 2,
        "INITIAL_BACKOFF": 100,
        "MAX_BACKOFF": 150,
        "BACKOFF_FACTOR": 2.0,
        "JITTER": 0,
        "LLM_TIMEOUT": 3,
    }
    setup = serve(**settings)
    model, lane = setup.provider()
    lane.next.extend((error_script(503), Script(delay=20)))
    answer = setup.query("third time lucky", model=model)
    assert (answer["num_retries"], answer["metrics"]["attempts"], answer["original_model"]) == (2, 3, None)
    model, lane = setup.provider(error_script(503))
    response = setup.post("/api/query", query="never", model=model)
    assert (response.status_code, len(lane.chats)) == (503, 3)
    # Longer than MAX_BACKOFF: nobody waits for it here, and the client is told.
    model, lane = setup.provider(error_script(429, retry_after="20"))
    response = setup.post("/api/query", query="later", model=model)
    assert (response.status_code, response.headers["retry-after"], len(lane.chats)) == (429, "20", 1)


def test_s3_4_s3_13_s3_29_the_log_has_the_query_only_if_it_is_asked_to(serve: Serve) -> None:
    setup = serve(LOG_QUERIES="true")
    text = "who said \u201chello\u201d\u2028?\n{" + "x" * 10_000
    response = setup.post(
        "/v1/gateway/query", query=text, task_type="summarization", request_id="mine", stream=True
    )
    assert response.status_code == 200
    [line] = eventually(lambda: query_lines(setup.gateway), lambda lines: len(lines) == 1)
    assert set(line) == {
        "timestamp", "event", "request_id", "client_request_id", "model", "task_type", "query", "query_length",
    }  # fmt: skip
    assert (line["model"], line["task_type"], line["client_request_id"]) == (
        "claude-sonnet-4-5",
        "summarization",
        "mine",
    )
    assert text.startswith(line["query"])
    assert (len(line["query"]) > 2000, line["query_length"]) == (True, len(text))
    assert line["request_id"] == response.headers["x-request-id"]
    # What came of it is in the access log, under the same id.
    done = eventually(
        lambda: [
            one
            for one in setup.gateway.access_lines()
            if one.get("request_id") == line["request_id"] and "outcome" in one
        ],
        lambda lines: len(lines) == 1,
    )[0]
    assert (done["status_code"], done["model"], done["client_request_id"]) == (
        200,
        "claude-sonnet-4-5",
        "mine",
    )
    assert (done["prompt_tokens"], done["completion_tokens"], done["error_type"]) == (9, 4, None)
    assert done["latency_ms"] > 0
    model, _ = setup.provider(error_script(500))
    failed = setup.post("/api/query", query="fail", model=model).headers["x-request-id"]
    outcome = eventually(
        lambda: [
            one
            for one in setup.gateway.access_lines()
            if one.get("request_id") == failed and "outcome" in one
        ],
        lambda lines: len(lines) == 1,
    )[0]
    assert (outcome["status_code"], outcome["error_type"]) == (502, "upstream_error")
    eventually(lambda: failed in setup.gateway.stderr.read_text(), bool)


def test_s3_13_no_query_is_logged_otherwise(serve: Serve) -> None:
    setup = serve()
    response = setup.post("/api/query", query="a secret of mine", model="openai")
    setup.gateway.access_line(response.headers["x-request-id"])
    assert "a secret of mine" not in setup.gateway.stdout.read_text() + setup.gateway.stderr.read_text()


def test_the_surface_can_be_switched_off(serve: Serve) -> None:
    setup = serve(SURFACES="openai")
    for path in ("/api/query", "/v1/gateway/query", "/v1/gateway/cost-estimate"):
        assert setup.post(path, query="x").status_code == 404
    assert setup.gateway.http.get("/api/status").status_code == 404


def test_s4_35_a_prefix_may_stand_before_a_family(serve: Serve) -> None:
    setup = serve(PROVIDER_SUFFIX="Proxy")
    assert setup.legacy("x", model="Proxy/openai")["model"] == "openai"
    assert setup.legacy("x", model="Proxy/gpt-4o")["model_version"] == "gpt-4o"
    assert setup.post("/api/query", query="x", model="Other/openai").status_code == 404


def test_s3_19_two_workers_on_postgresql(serve: Serve, services: Services) -> None:
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        setup = serve(WORKERS=2, DB_URL=url)
        for number in range(6):
            response = setup.post("/api/query", query=f"query {number}", request_id=f"r-{number}")
            assert set(accepted(response)) == LEGACY_FIELDS
            assert setup.row(response)["client_request_id"] == f"r-{number}"
        # Before its database is gone.
        setup.close()


@pytest.mark.parametrize("served", [True, False])
def test_s3_2_a_gateway_without_any_family_answers_by_what_it_has(
    launch: Launch, fake: FakeUpstream, served: bool
) -> None:
    gateway = launch()
    key = gateway.create_credential("client")
    if served:
        lane = fake.lane(f"local-{time.monotonic_ns()}")
        mapping = {"nomic-embed-text": "nomic-embed-text", "llama3": "llama3:8b"}
        gateway.create_provider("local", lane.base_url, provider_type="ollama", model_mapping=mapping)
    response = gateway.post("/api/query", key, content=json.dumps({"query": "hello"}))
    if served:
        assert accepted(response)["model"] == "llama3"
    else:
        assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
        assert "No model is available for this query" in response.json()["error"]


def test_s3_14_keys_in_the_environment_make_the_families(launch: Launch, fake: FakeUpstream) -> None:
    lane = fake.lane(f"seeded-{time.monotonic_ns()}")
    gateway = launch(OPENAI_API_KEY="sk-upstream-secret", OPENAI_BASE_URL=lane.base_url)
    key = gateway.create_credential("client")
    answer = accepted(gateway.post("/api/query", key, json={"query": "hello", "model": "openai"}))
    assert (answer["model"], answer["model_version"], answer["provider"]) == ("openai", "gpt-4o", "openai")
    body = {"query": "hello", "model": "openai", "model_version": "gpt-4o-mini"}
    answer = accepted(gateway.post("/v1/gateway/query", key, json=body))
    assert (answer["model"], answer["model_version"]) == ("openai", "gpt-4o-mini")
    assert accepted(gateway.post("/api/query", key, json={"query": "hello"}))["model"] == "openai"
    missing = gateway.post("/api/query", key, json={"query": "hello", "model": "claude"})
    assert (missing.status_code, "Available are: openai." in missing.json()["error"]) == (404, True)
