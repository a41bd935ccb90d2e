"""What requests of the agents' API are refused for, field by field (S2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.agents import HEADERS, MODELS, PROXY, SECRET, USAGE, agent, ask, refused
from tests.e2e.conftest import Desk
from tests.fakes.script import error_script


@pytest.mark.parametrize(
    ("changes", "param", "code", "words"),
    [
        ({"model": None}, "model", "invalid_type", "expected str, got null"),
        ({"model": ""}, "model", "invalid_type", "length >= 1"),
        ({"model": 4}, "model", "invalid_type", "expected str, got int"),
        ({"messages": []}, "messages", "invalid_type", "length >= 1"),
        ({"messages": "hello"}, "messages", "invalid_type", "expected array, got str"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter", "is missing"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_type", "'boss'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "got int"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_request", "needs a text"),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "messages",
            "invalid_request",
            "every content is empty",
        ),
        ({"max_tokens": 0}, "max_tokens", "invalid_type", ">= 1"),
        ({"max_tokens": -5}, "max_tokens", "invalid_type", ">= 1"),
        ({"max_tokens": 10**12}, "max_tokens", "invalid_type", "<= 10000000"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_type", ""),
        ({"max_tokens": "100"}, "max_tokens", "invalid_type", "got str"),
        ({"temperature": 2.1}, "temperature", "invalid_type", "<= 2"),
        ({"temperature": -0.1}, "temperature", "invalid_type", ">= 0"),
        ({"temperature": True}, "temperature", "invalid_type", "got bool"),
        ({"stream": "yes"}, "stream", "invalid_type", "got str"),
        ({"tools": {}}, "tools", "invalid_type", "got object"),
        ({"maxtokens": 5}, "maxtokens", "unknown_parameter", "Known fields: model, messages, max_tokens"),
        ({"n": 2}, "n", "unknown_parameter", "is not known"),
        ({"metadata": {"agent": "x"}}, "metadata.agent", "unknown_parameter", "is not known"),
        ({"metadata": {"agent_id": 5}}, "metadata.agent_id", "invalid_type", "got int"),
        ({"metadata": {"agent_id": "a\0"}}, "metadata.agent_id", "invalid_request", "printable"),
        ({"metadata": {"channel_id": "x" * 257}}, "metadata.channel_id", "invalid_type", "length <= 256"),
        ({"metadata": "agent:sofia"}, "metadata", "invalid_type", "got str"),
    ],
)
def test_a_wrong_body_is_422_and_names_the_field(
    agents_desk: Desk, changes: dict[str, Any], param: str, code: str, words: str
) -> None:
    kinds = {"unknown_parameter": "extra_forbidden", "missing_required_parameter": "missing"}
    kind = "value_error" if code == "invalid_request" else kinds.get(code, "type_error")
    response = ask(agents_desk, None, **changes)
    assert words in refused(response, 422, code, param, kind)
    row = agents_desk.gateway.usage_row(response.headers["x-request-id"])
    assert (row["status_code"], row["outcome"]) == (422, "rejected")
    assert row["response_bytes"] == len(response.content)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b'{"temperature": NaN}', b"\xff", b'{"model": "\xff"}', b"[" * 3000],
)
def test_a_body_that_is_no_json_object_is_422(agents_desk: Desk, body: bytes) -> None:
    response = agents_desk.gateway.http.post(PROXY, content=body, headers=HEADERS)
    assert response.status_code == 422
    (fault,) = response.json()["detail"]
    assert fault["loc"] == ["body"]
    assert fault["type"] in {"json_invalid", "type_error"}


def test_a_name_that_is_not_utf8_does_not_reach_the_provider(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    body = json.dumps(agents_desk.body(messages=[{"role": "user", "content": "x", "name": "?"}])).encode()
    response = agents_desk.gateway.http.post(PROXY, content=body.replace(b"?", b"\xff"), headers=HEADERS)
    assert "UTF-8" in refused(response, 422, "invalid_json", None, "json_invalid")
    assert lane.chats == []


def test_s2_7_a_missing_or_wrong_secret_is_401(agents_desk: Desk) -> None:
    agents_desk.provider()
    for path in (MODELS, USAGE):
        for headers in ({}, {"X-Internal-Secret": "no"}, {"authorization": f"Bearer {agents_desk.key}"}):
            detail = refused(
                agents_desk.gateway.http.get(path, headers=headers), 401, "invalid_internal_secret"
            )
            assert detail.startswith("Invalid or missing X-Internal-Secret header")
    for headers in ({}, {"X-Internal-Secret": ""}, {"X-Internal-Secret": SECRET + "x"}, {"api-key": SECRET}):
        refused(ask(agents_desk, headers=headers), 401, "invalid_internal_secret")
    several = [("X-Internal-Secret", SECRET), ("X-Internal-Secret", "other")]
    response = agents_desk.gateway.http.post(PROXY, json=agents_desk.body(), headers=several)
    assert "send one" in refused(response, 400, "ambiguous_api_key")


def test_s2_7_the_secret_opens_nothing_else(agents_desk: Desk) -> None:
    agents_desk.provider()
    for headers in ({"authorization": f"Bearer {SECRET}"}, HEADERS):
        assert (
            agents_desk.gateway.http.post(
                "/v1/chat/completions", json=agents_desk.body(), headers=headers
            ).status_code
            == 401
        )
        assert agents_desk.gateway.http.get("/admin/v1/providers", headers=headers).status_code == 401


def test_a_model_that_nobody_serves_is_404_and_names_it(agents_desk: Desk) -> None:
    response = ask(agents_desk, model="gpt-unheard-of")
    assert "gpt-unheard-of" in refused(response, 404, "model_not_found", "model")
    row = agents_desk.gateway.usage_row(response.headers["x-request-id"])
    assert (row["agent"], row["status_code"]) == (agent(agents_desk), 404)


def test_a_provider_that_fails_is_502_and_one_that_refuses_keeps_its_words(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    lane.default = error_script(500)
    refused(ask(agents_desk), 502, "upstream_error")
    lane.default = error_script(400)
    assert "temperature" in refused(ask(agents_desk), 400, "invalid_value", "temperature")
    lane.default = error_script(401)
    refused(ask(agents_desk), 502, "upstream_key_refused")


def test_unknown_paths_and_methods_are_told_in_this_apis_shape(agents_desk: Desk) -> None:
    http = agents_desk.gateway.http
    assert "/docs" in refused(http.post("/internal/llm/proxi", headers=HEADERS), 404, "not_found")
    assert f"Did you mean {PROXY}" in refused(http.post(f"{PROXY}/", headers=HEADERS), 404, "not_found")
    wrong = http.get(PROXY, headers=HEADERS)
    refused(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
