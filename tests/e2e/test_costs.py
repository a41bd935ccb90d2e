"""What a request costs, as its client, the usage rows, the metrics and the access log see it, to the nano-dollar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import openai
import pytest

from llm_gateway.core.money import usd_text
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.price_table import price
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted, eventually
from tests.fakes.anthropic_wire import SECRET, play, recording
from tests.fakes.gemini_wire import KEY, FakeGemini
from tests.fakes.replay_server import ReplayServer, replaying
from tests.fakes.script import Script, Tokens

MODEL = "gpt-5.4"
TOKENS = Tokens(prompt=2000, completion=300, cached=1024, reasoning=64)
QUANTITIES = {
    "input_tokens": 2000,
    "output_tokens": 300,
    "cache_read_tokens": 1024,
    "output_reasoning_tokens": 64,
}
PLAIN = Script(tokens=TOKENS)
HEADER = "x-llm-gateway-cost-usd"


def booked(provider: str, model: str, quantities: dict[str, int], row: dict[str, Any]) -> str:
    """Return what the price book says that a request cost when it began."""
    book = shipped_price_book()
    at = int(datetime.fromisoformat(row["created_at"]).timestamp() * 1e6)
    prices = DeploymentPrices(book.schedule(provider, model), book.version).at(at)
    nano_usd = price(prices.table, quantities).nano_usd
    assert nano_usd is not None
    return usd_text(nano_usd)


def quantities_of(row: dict[str, Any]) -> dict[str, int]:
    """Return what a row of a plain request says was used."""
    names = {
        "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens",
        "cache_read_tokens": "cached_tokens",
        "cache_write_tokens": "cache_write_tokens",
        "output_reasoning_tokens": "reasoning_tokens",
    }
    return {unit: row[name] for unit, name in names.items() if row[name] or "put_" in unit}


def row_of(desk: Desk, answer: Any) -> dict[str, Any]:
    row: dict[str, Any] = accepted(desk.gateway.admin.get(f"/usage/{answer.headers['x-request-id']}"))
    return row


def priced(desk: Desk, script: Script = PLAIN, model: str = MODEL, name: str = "main", **fields: Any) -> None:
    """Add a provider that serves the desk's model as one that the price book has at OpenAI."""
    desk.failing(script, name, model_mapping={desk.model: model}, price_provider="openai", **fields)


def usage_chunk(body: str) -> dict[str, Any]:
    """Return the usage that a stream reports."""
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    [usage] = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert isinstance(usage, dict)
    return usage


def test_a_whole_reply_costs_what_the_price_book_says(desk: Desk) -> None:
    priced(desk)
    raw = desk.sdk.chat.completions.with_raw_response.create(**desk.body())
    row = row_of(desk, raw)
    assert row["cost_usd"] == booked("openai", MODEL, QUANTITIES, row) == raw.headers[HEADER]
    assert (row["cost_source"], row["unpriced"]) == ("catalog", None)
    assert row["price_version"] == shipped_price_book().version
    line = desk.gateway.access_line(raw.headers["x-request-id"])
    assert line["cost_usd"] == row["cost_usd"]
    [attempt] = row["attempt_details"]
    assert attempt["cost_usd"] == row["cost_usd"]


def test_a_stream_costs_the_same_and_says_so_if_it_is_asked(desk: Desk) -> None:
    priced(desk)
    whole = row_of(desk, desk.chat())
    body = desk.body(stream=True, stream_options={"include_usage": True})
    plain = desk.gateway.post("/v1/chat/completions", desk.key, json=body)
    told = desk.gateway.post(
        "/v1/chat/completions", desk.key, json=body, headers={"x-llm-gateway-cost": "on"}
    )
    assert HEADER not in plain.headers
    assert "cost_usd" not in usage_chunk(plain.text)
    assert usage_chunk(told.text) == usage_chunk(plain.text) | {"cost_usd": whole["cost_usd"]}
    assert row_of(desk, told)["cost_usd"] == row_of(desk, plain)["cost_usd"] == whole["cost_usd"]
    silent = desk.gateway.post(
        "/v1/chat/completions", desk.key, json=desk.body(stream=True), headers={"x-llm-gateway-cost": "on"}
    )
    assert "total_tokens" not in silent.text
    # The SDK reads the extended chunk.
    stream = desk.sdk.chat.completions.create(**body, extra_headers={"x-llm-gateway-cost": "on"})
    usages = [chunk.usage for chunk in stream if chunk.usage is not None]
    assert [usage.model_extra["cost_usd"] for usage in usages if usage.model_extra] == [whole["cost_usd"]]


def test_responses_and_embeddings_are_priced(desk: Desk) -> None:
    priced(desk)
    streamed = desk.gateway.post(
        "/v1/responses",
        desk.key,
        json={"model": desk.model, "input": "hello", "stream": True},
        headers={"x-llm-gateway-cost": "on"},
    )
    last = json.loads([line for line in streamed.text.splitlines() if line.startswith("data: ")][-1][6:])
    row = row_of(desk, streamed)
    assert row["cost_usd"] == booked("openai", MODEL, QUANTITIES, row)
    assert last["response"]["usage"]["cost_usd"] == row["cost_usd"]
    embedding = desk.gateway.post("/v1/embeddings", desk.key, json={"model": desk.model, "input": "hello"})
    assert embedding.headers[HEADER] == row_of(desk, embedding)["cost_usd"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_has_a_reason_and_no_cost(desk: Desk, stream: bool) -> None:
    desk.provider(price_provider="openai")
    answer = desk.chat(stream=stream)
    row = row_of(desk, answer)
    assert (row["cost_usd"], row["cost_source"], row["total_tokens"]) == (None, "none", 13)
    assert row["unpriced"] == "unknown_model"
    assert HEADER not in answer.headers
    count = desk.gateway.metrics(
        "llm_gateway_unpriced_requests_total", model=desk.model, reason="unknown_model"
    )
    assert count == 1


@pytest.mark.parametrize("stream", [False, True])
def test_s2_24_a_failover_costs_the_sum_of_its_attempts(desk: Desk, stream: bool) -> None:
    failure = {"error": {"message": "overloaded", "type": "server_error"}}
    usage = {"usage": {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}}
    broken = Script(body=json.dumps(failure | usage).encode(), content_type="application/json")
    priced(desk, broken, "gpt-4o-mini", "broken", weight=10_000)
    priced(desk, PLAIN, name="good", weight=1)
    answer = desk.chat(stream=stream)
    row = row_of(desk, answer)
    first, second = row["attempt_details"]
    assert (first["outcome"], first["prompt_tokens"]) == ("error", 700)
    assert first["cost_usd"] == booked(
        "openai", "gpt-4o-mini", {"input_tokens": 700, "output_tokens": 20}, row
    )
    assert (second["outcome"], second["cost_usd"]) == ("ok", booked("openai", MODEL, QUANTITIES, row))
    total = sum(int(float(one["cost_usd"]) * 1e9 + 0.5) for one in (first, second))
    assert row["cost_usd"] == usd_text(total)
    assert answer.headers.get(HEADER) == (None if stream else usd_text(total))


def test_a_cached_reply_costs_0(desk: Desk) -> None:
    priced(desk)
    first, second = (
        desk.gateway.post(
            "/v1/chat/completions", desk.key, json=desk.body(), headers={"x-llm-gateway-cache": "on"}
        )
        for _ in range(2)
    )
    assert first.headers[HEADER] != "0"
    assert (second.headers["x-llm-gateway-cache"], second.headers[HEADER]) == ("hit", "0")
    row = row_of(desk, second)
    assert (row["cache_hit"], row["cost_usd"], row["unpriced"]) == (True, "0", None)
    assert row["total_tokens"] == 2300


def test_s2_24_costs_are_counted_by_model_and_provider(desk: Desk) -> None:
    priced(desk)
    cost = sum(float(row_of(desk, desk.chat())["cost_usd"]) for _ in range(3))
    counted = desk.gateway.metrics("llm_gateway_cost_usd_total", model=desk.model)
    assert counted == pytest.approx(cost, abs=1e-12)


def test_a_client_that_leaves_is_charged_for_what_came(desk: Desk) -> None:
    priced(desk, Script(tokens=TOKENS, pieces=("one ", "two ", "three "), gap=0.3, usage="none"))
    with desk.gateway.http.stream(
        "POST",
        "/v1/chat/completions",
        json=desk.body(stream=True),
        headers={"authorization": f"Bearer {desk.key}"},
    ) as answer:
        next(answer.iter_bytes())
    row = eventually(
        lambda: desk.gateway.admin.get(f"/usage/{answer.headers['x-request-id']}"),
        lambda found: found.status_code == 200,
    ).json()
    assert (row["outcome"], row["usage_source"]) == ("aborted", "counted")
    assert row["cost_usd"] == booked("openai", MODEL, quantities_of(row), row)


def test_s3_23_a_dry_run_calls_nobody_and_estimates_what_the_request_then_costs(desk: Desk) -> None:
    lane = desk.failing(PLAIN, model_mapping={desk.model: "gpt-4o"}, price_provider="openai")
    body = desk.body(max_tokens=300, stream=True)
    answer = desk.gateway.post(
        "/v1/chat/completions", desk.key, json=body, headers={"x-llm-gateway-dry-run": "true"}
    )
    found = accepted(answer)
    assert lane.calls == []
    assert (found["model"], found["provider"], found["upstream_model"]) == (desk.model, lane.name, "gpt-4o")
    assert (found["prompt_tokens_source"], found["completion_tokens"]) == ("counted", 300)
    at = {"created_at": "2026-01-01T00:00:00Z"}
    quantities = {"input_tokens": found["prompt_tokens"], "output_tokens": 300}
    assert found["cost_usd"] == booked("openai", "gpt-4o", quantities, at)
    assert float(found["max_cost_usd"]) > float(found["cost_usd"])
    line = desk.gateway.access_line(answer.headers["x-request-id"])
    assert (line["error_type"], line["attempts"], line["cost_usd"]) == ("dry_run", 0, None)
    assert desk.gateway.admin.get(f"/usage/{answer.headers['x-request-id']}").status_code == 404


def test_s3_24_a_request_that_may_cost_too_much_is_refused_once(desk: Desk) -> None:
    lane = desk.failing(PLAIN, model_mapping={desk.model: "gpt-4o"}, price_provider="openai")
    sdk = desk.gateway.sdk(desk.key, max_retries=2)
    for limit, fields, code in (
        ("0.000001", {"max_tokens": 300}, "max_cost_exceeded"),
        ("100", {}, "max_cost_unknown"),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            sdk.chat.completions.create(
                **desk.body(**fields), extra_headers={"x-llm-gateway-max-cost-usd": limit}
            )
        assert (caught.value.status_code, caught.value.code) == (402, code)
        assert caught.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.BadRequestError, match="x-llm-gateway-max-cost-usd"):
        sdk.chat.completions.create(**desk.body(), extra_headers={"x-llm-gateway-max-cost-usd": "much"})
    assert lane.calls == []
    sdk.chat.completions.create(
        **desk.body(max_tokens=300), extra_headers={"x-llm-gateway-max-cost-usd": "0.01"}
    )
    assert len(lane.calls) == 1


@pytest.fixture(scope="module")
def anthropic() -> Iterator[ReplayServer]:
    with replaying(play) as server:
        yield server


@pytest.mark.parametrize("name", ["text", "cache", "thinking"])
def test_anthropic_streamed_and_not(desk: Desk, anthropic: ReplayServer, name: str) -> None:
    one = recording(name)
    model = one.request["model"]
    desk.provider(
        provider_type="anthropic",
        api_base=anthropic.origin,
        api_key=SECRET,
        price_provider="anthropic",
        model_mapping={desk.model: model},
    )
    body = {**one.client, "model": desk.model}
    rows = []
    for stream in (False, True):
        answer = desk.gateway.post("/v1/chat/completions", desk.key, json=body | {"stream": stream})
        rows.append(row_of(desk, answer))
    # No field of a row has these, but its breakdown does.
    more = {"cache_write_1h_tokens": 100} if name == "cache" else {}
    for row in rows:
        assert row["usage_source"] == "provider"
        assert row["cost_usd"] == booked("anthropic", model, quantities_of(row) | more, row)
        billed = {one["unit"]: one["quantity"] for one in row["cost_breakdown"]}
        assert billed.items() >= more.items()
    assert len({row["cost_usd"] for row in rows}) == 1


@pytest.fixture(scope="module")
def gemini() -> Iterator[FakeGemini]:
    with FakeGemini().serving() as started:
        yield started


def test_gemini_streamed_and_not(desk: Desk, gemini: FakeGemini) -> None:
    model = "gemini-3-flash-preview"
    desk.provider(
        provider_type="gemini",
        api_base=gemini.origin,
        api_key=KEY,
        price_provider="google",
        model_mapping={desk.model: model},
    )
    for stream in (False, True):
        gemini.recordings.append("text")
        row = row_of(desk, desk.chat(stream=stream))
        assert row["usage_source"] == "provider"
        assert row["cost_usd"] == booked("google", model, quantities_of(row), row)
