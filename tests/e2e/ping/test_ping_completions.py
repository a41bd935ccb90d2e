"""Completions and chats of dgen-ping's API: every field of the answer, and of the row that each leaves."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.e2e.ping.conftest import PingDesk
from tests.fakes.script import Script, Tokens, error_script

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PATHS = ("/api/llm/completion", "/api/llm/chat")


def events(answer: httpx.Response) -> list[Any]:
    """Return the payloads of a stream, decoded; [DONE] as it is."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    texts = [block.removeprefix("data: ") for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_has_every_documented_field_s1_5_s0_33_s0_34(ping: PingDesk, path: str) -> None:
    lane = ping.provider()
    lane.default = Script(
        text="Volatility is how far prices move.", delay=0.1, tokens=Tokens(prompt=25, completion=45)
    )
    began = time.monotonic()
    answer = ping.post(path, json=ping.body())
    took = time.monotonic() - began
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    sent = answer.json()
    assert [*sent] == ["completion", "model", "metadata"]
    assert (sent["completion"], sent["model"]) == ("Volatility is how far prices move.", ping.model)
    metadata = sent["metadata"]
    assert [*metadata] == ["request_id", "latency", "tokens", "timestamp"]
    assert UUID.fullmatch(metadata["request_id"])
    assert metadata["request_id"] == answer.headers["x-request-id"]
    # Seconds, to the millisecond.
    assert 0.1 <= metadata["latency"] <= took
    assert metadata["latency"] == round(metadata["latency"], 3)
    assert metadata["tokens"] == {"prompt": 25, "completion": 45, "total": 70}
    assert TIME.fullmatch(metadata["timestamp"])


def test_the_provider_gets_the_prompt_and_the_parameters_s0_40_s1_4(ping: PingDesk) -> None:
    lane = ping.provider()
    ping.complete(temperature=0.3, max_tokens=10000, prompt="Hello, how are you?")
    assert lane.last.json == {
        "model": ping.upstream_model,
        "messages": [{"role": "user", "content": "Hello, how are you?"}],
        "temperature": 0.3,
        "max_tokens": 10000,
    }
    assert lane.last.header("x-api-token") is None


def test_what_a_request_leaves_out_has_defaults_s0_28_s0_29_s0_30_s1_8_s1_11(ping: PingDesk) -> None:
    lane = ping.provider(model_mapping={"gpt-4": "gpt-4-upstream"})
    answer = ping.post("/api/llm/completion", json={"prompt": "hello"})
    assert answer.status_code == 200, answer.text
    assert lane.last.json == {
        "model": "gpt-4-upstream",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.7,
        "max_tokens": 2000,
    }
    row = ping.row_of(answer)
    # A token's user is the SOEID, if the body names none.
    assert (row["soeid"], row["end_user"], row["project"]) == (ping.user, ping.user, "default_project")
    nulls = dict.fromkeys(("soeid", "project_name", "temperature", "max_tokens", "stream"))
    assert ping.complete(**nulls).status_code == 404
    assert ping.complete(**nulls, model=None).status_code == 200


def test_a_chat_takes_messages_s0_34(ping: PingDesk) -> None:
    lane = ping.provider()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "What is beta?"},
    ]
    body = ping.body(messages=messages)
    del body["prompt"]
    answer = ping.post("/api/llm/chat", json=body)
    assert answer.status_code == 200, answer.text
    assert lane.last.json["messages"] == messages


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_row_has_every_fact_s0_41_to_s0_48_s1_7_s1_17_to_s1_20(
    ping: PingDesk, path: str, stream: bool
) -> None:
    lane = ping.provider()
    lane.default = Script(text="a b c", delay=0.05)
    answer = ping.post(path, json=ping.body(temperature=0.3, stream=stream))
    assert answer.status_code == 200, answer.text
    row = ping.row_of(answer)
    expected = {
        "request_id": answer.headers["x-request-id"],
        "soeid": "ab1234",
        "project": "risk-analysis",
        "end_user": ping.user,
        "credential": "surface:ping",
        "provider": lane.name,
        "endpoint": path,
        "method": "POST",
        "stream": stream,
        "status_code": 200,
        "outcome": "ok",
        "model": ping.model,
        "upstream_model": ping.upstream_model,
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "usage_source": "provider",
        # What was sent and received, byte for byte.
        "request_bytes": len(answer.request.content),
        "response_bytes": len(answer.content),
        "client_ip": "127.0.0.1",
        "temperature": 0.3,
        "attempts": 1,
    }
    assert {name: row[name] for name in expected} == expected
    assert 50 <= row["upstream_latency_ms"] <= row["latency_ms"]
    line = ping.gateway.access_line(answer.headers["x-request-id"])
    assert line["status_code"] == 200


def test_a_stream_has_deltas_then_the_metadata(ping: PingDesk) -> None:
    lane = ping.provider()
    lane.default = Script(pieces=("Vola", "tility"), gap=0.02)
    answer = ping.complete(stream=True)
    *deltas, last, done = events(answer)
    assert deltas == [{"completion": "Vola"}, {"completion": "tility"}]
    assert done == "[DONE]"
    assert (last["completion"], last["model"]) == ("", ping.model)
    assert last["metadata"]["request_id"] == answer.headers["x-request-id"]
    assert last["metadata"]["tokens"] == {"prompt": 9, "completion": 4, "total": 13}
    assert last["metadata"]["latency"] >= 0.02
    assert TIME.fullmatch(last["metadata"]["timestamp"])


def test_tokens_that_nobody_stated_are_null_and_counted_on_the_row(ping: PingDesk) -> None:
    lane = ping.provider()
    lane.default = Script(text="one two three", usage="none", body=None)
    answer = ping.complete(stream=True)
    tokens = events(answer)[-2]["metadata"]["tokens"]
    row = ping.row_of(answer)
    assert row["completion_tokens"] > 0
    assert tokens["completion"] in {None, row["completion_tokens"]}


def test_a_stream_that_breaks_ends_with_an_error_and_no_done(ping: PingDesk) -> None:
    lane = ping.provider()
    lane.default = Script(pieces=("a", "b", "c"), fault="reset", fault_at=2)
    answer = ping.complete(stream=True)
    *deltas, last = events(answer)
    assert deltas == [{"completion": "a"}]
    assert [*last] == ["detail", "error"]
    assert last["error"]["code"] == "upstream_cut"
    assert last["error"]["request_id"] == answer.headers["x-request-id"]
    assert last["detail"]
    row = ping.row_of(answer)
    assert (row["outcome"], row["error_type"]) == ("error", "upstream_cut")
    assert row["response_bytes"] == len(answer.content)


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (error_script(400), 400, "invalid_value"),
        (error_script(401), 502, "upstream_key_refused"),
        (error_script(403), 403, "model_access_denied"),
        (error_script(404), 404, "model_not_found"),
        (error_script(429, retry_after="7"), 429, "rate_limit_exceeded"),
        (error_script(500), 502, "upstream_error"),
        (error_script(503), 503, "upstream_unavailable"),
        (Script(fault="reset"), 502, None),
        (Script(body=b"<html>", content_type="text/html"), 502, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails_gives_an_error_in_this_apis_shape_s0_44(
    ping: PingDesk, script: Script, status: int, code: str | None, stream: bool
) -> None:
    lane = ping.provider()
    lane.default = script
    answer = ping.complete(stream=stream)
    assert answer.status_code == status, answer.text
    sent = answer.json()
    assert [*sent] == ["detail", "error"]
    assert isinstance(sent["detail"], str)
    assert [*sent["error"]] == ["type", "code", "param", "request_id"]
    if code is not None:
        assert sent["error"]["code"] == code
    assert sent["error"]["request_id"] == answer.headers["x-request-id"]
    if status == 429:
        assert answer.headers["retry-after"] == "7"
    row = ping.row_of(answer)
    assert row["status_code"] == status
    assert row["response_bytes"] == len(answer.content)


BAD: list[tuple[dict[str, Any] | bytes, list[Any], str]] = [
    (b"", ["body"], "JSON"),
    (b"not json", ["body"], "JSON"),
    (b'{"prompt": NaN}', ["body"], "JSON"),
    (b'{"prompt": "hi", "temperature": NaN}', ["body"], "JSON"),
    (b"[]", ["body"], "object"),
    ({}, ["body", "prompt"], "missing"),
    ({"prompt": ""}, ["body", "prompt"], "empty"),
    ({"prompt": "  \n"}, ["body", "prompt"], "empty"),
    ({"prompt": 5}, ["body", "prompt"], "expected str, got int"),
    ({"prompt": "hi", "promt": "hi"}, ["body", "promt"], "not known"),
    ({"prompt": "hi", "top_p": 1}, ["body", "top_p"], "soeid, project_name, prompt"),
    ({"prompt": "hi", "model": ""}, ["body", "model"], "empty"),
    ({"prompt": "hi", "model": 4}, ["body", "model"], "expected str"),
    ({"prompt": "hi", "temperature": -0.1}, ["body", "temperature"], "0 to 2"),
    ({"prompt": "hi", "temperature": 2.01}, ["body", "temperature"], "0 to 2"),
    ({"prompt": "hi", "temperature": "0.5"}, ["body", "temperature"], "expected float"),
    ({"prompt": "hi", "max_tokens": 0}, ["body", "max_tokens"], "1 to"),
    ({"prompt": "hi", "max_tokens": -5}, ["body", "max_tokens"], "1 to"),
    ({"prompt": "hi", "max_tokens": 10**9}, ["body", "max_tokens"], "1 to"),
    ({"prompt": "hi", "max_tokens": 10**30}, ["body", "max_tokens"], ""),
    ({"prompt": "hi", "max_tokens": 1.5}, ["body", "max_tokens"], "expected int"),
    ({"prompt": "hi", "max_tokens": True}, ["body", "max_tokens"], "expected int"),
    ({"prompt": "hi", "stream": "yes"}, ["body", "stream"], "expected bool"),
    ({"prompt": "hi", "soeid": 7}, ["body", "soeid"], "expected str"),
    ({"prompt": "hi", "soeid": "x" * 257}, ["body", "soeid"], "256"),
    ({"prompt": "hi", "soeid": "a\nb"}, ["body", "soeid"], "printable"),
    ({"prompt": "hi", "project_name": "\0"}, ["body", "project_name"], "printable"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "loc", "words"), BAD)
def test_a_bad_body_is_422_and_names_the_field(
    ping: PingDesk, body: dict[str, Any] | bytes, loc: list[Any], words: str, path: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = ping.post(path, content=content)
    assert answer.status_code == 422, answer.text
    sent = answer.json()
    (fault,) = sent["detail"]
    assert fault["loc"] == loc
    assert words in fault["msg"]
    assert fault["type"]
    assert sent["error"]["type"] == "invalid_request_error"
    row = ping.row_of(answer)
    assert (row["status_code"], row["outcome"], row["response_bytes"]) == (
        422,
        "rejected",
        len(answer.content),
    )


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"messages": []}, ["body", "messages"]),
        ({"messages": "hi"}, ["body", "messages"]),
        ({"messages": ["hi"]}, ["body", "messages", 0]),
        ({"messages": [{}]}, ["body", "messages", 0, "role"]),
        ({"messages": [{"role": "king", "content": "x"}]}, ["body", "messages", 0, "role"]),
        ({"messages": [{"role": "user"}]}, ["body", "messages", 0, "content"]),
        ({"messages": [{"role": "user", "content": ""}]}, ["body", "messages", 0, "content"]),
        ({"messages": [{"role": "user", "content": 5}]}, ["body", "messages", 0, "content"]),
        ({"prompt": "a", "messages": [{"role": "user", "content": "x"}]}, ["body", "messages"]),
    ],
)
def test_bad_messages_are_422(ping: PingDesk, fields: dict[str, Any], loc: list[Any]) -> None:
    answer = ping.post("/api/llm/chat", json=fields)
    assert answer.status_code == 422, answer.text
    place = answer.json()["detail"][0]["loc"]
    assert place[: len(loc)] == loc


def test_an_unknown_model_is_404(ping: PingDesk) -> None:
    answer = ping.complete(model="nobody-serves-it")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "nobody-serves-it" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/llm/completion", 405),
        ("PUT", "/telemetry", 405),
        ("GET", "/generate-token", 405),
        ("POST", "/api/llm/completions", 404),
        ("GET", "/api/llm/", 404),
    ],
)
def test_other_paths_and_methods_have_errors_of_this_shape(
    ping: PingDesk, method: str, path: str, status: int
) -> None:
    answer = ping.gateway.http.request(method, path)
    assert answer.status_code == status, answer.text
    assert [*answer.json()] == ["detail", "error"]


def test_a_body_that_is_too_large_or_compressed_is_refused(ping: PingDesk) -> None:
    compressed = ping.post("/api/llm/completion", content=b"x", headers={"content-encoding": "gzip"})
    assert (compressed.status_code, compressed.json()["error"]["code"]) == (
        400,
        "unsupported_content_encoding",
    )
    for path, secret in (("/telemetry", {}), ("/generate-token", {"x-token-secret": "0" * 32})):
        huge = ping.post(path, content=b"x" * 100_000, headers=secret)
        assert huge.status_code in {401, 413}, huge.text


def test_a_client_that_asks_what_it_would_cost_calls_no_provider(ping: PingDesk) -> None:
    lane = ping.provider()
    answer = ping.post("/api/llm/completion", json=ping.body(), headers={"x-llm-gateway-dry-run": "true"})
    assert answer.status_code == 200
    assert lane.chats == []


def test_a_large_prompt_passes(ping: PingDesk) -> None:
    lane = ping.provider()
    prompt = "word " * 100_000
    answer = ping.complete(prompt=prompt)
    assert answer.status_code == 200
    assert lane.last.json["messages"][0]["content"] == prompt
    assert ping.row_of(answer)["request_bytes"] == len(answer.request.content)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cached_answer_has_facts_of_its_own(ping: PingDesk, stream: bool) -> None:
    lane = ping.provider()
    headers = {"x-llm-gateway-cache": "on"}
    first, second = (
        ping.post("/api/llm/completion", json=ping.body(stream=stream), headers=headers) for _ in range(2)
    )
    assert len(lane.chats) == 1
    assert second.headers["x-llm-gateway-cache"] == "hit"
    last = [(events(answer)[-2] if stream else answer.json())["metadata"] for answer in (first, second)]
    assert last[0]["request_id"] != last[1]["request_id"] == second.headers["x-request-id"]
    assert last[0]["tokens"] == last[1]["tokens"]
    row = ping.row_of(second)
    assert (row["cache_hit"], row["response_bytes"]) == (True, len(second.content))
