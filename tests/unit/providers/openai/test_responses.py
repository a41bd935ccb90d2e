"""Whole replies of the Responses API: usage, failures and unusual shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.openai.responses import read_response, response_error_body
from llm_gateway.wire.errors import BadReply
from tests.fakes.responses_wire import response
from tests.fakes.script import Script


def test_a_reply_passes_byte_for_byte_and_its_usage_is_read() -> None:
    body = json.dumps(response(1, Script(), {"model": "m"}, "fake")).encode()
    completion = read_response(body)
    assert (completion.body, completion.refusal) == (body, None)
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 4, 13)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (2, 1)


@pytest.mark.parametrize(
    "field",
    [b'"usage":"much"', b'"usage":[]', b'"usage":{"input_tokens":-1}', b'"status":5', b'"odd":"\\ud83d"'],
)
def test_an_answer_of_an_unusual_shape_passes_without_usage(field: bytes) -> None:
    body = b'{"output":[{"type":"message"}],' + field + b"}"
    completion = read_response(body)
    assert (completion.body, completion.usage, completion.refusal) == (body, None, None)


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"", b"\xff", b"[" * 20_000])
def test_a_body_that_is_no_json_object_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        read_response(body)


def test_a_failed_response_is_a_refusal() -> None:
    failed = read_response(b'{"status":"failed","error":{"code":"server_error","message":"boom"}}').refusal
    assert failed == UpstreamErrorBody(message="boom", type="server_error", code="server_error")


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_an_error_field_alone_is_no_refusal(status: str) -> None:
    body = json.dumps({"status": status, "output": [], "error": {"message": "boom"}}).encode()
    assert read_response(body).refusal is None


@pytest.mark.parametrize("error", [None, {"code": "server_error", "message": "boom"}])
@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_did_not_succeed_is_a_refusal(status: str, error: Any) -> None:
    body = json.dumps({"status": status, "output": [{"type": "message"}], "error": error}).encode()
    assert read_response(body).refusal is not None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"status": "completed"},
        {"status": "completed", "output": None},
        {"output": []},
        {"status": "queued", "output": []},
        {"status": "in_progress", "output": [{"type": "message"}]},
        {"choices": []},
        {"status": ["completed"], "output": []},
        {"code": 0, "msg": "ok"},
    ],
)
def test_json_without_an_answer_is_a_bad_reply(value: Any) -> None:
    with pytest.raises(BadReply):
        read_response(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "boom"}},
        {"error": "boom"},
        {"object": "error", "message": "boom"},
        {"code": 500, "msg": "boom"},
        {"status": "failed", "error": {"message": "boom"}},
    ],
)
def test_an_error_of_any_shape_is_a_refusal(value: Any) -> None:
    for body in (json.dumps(value).encode(), b"data: " + json.dumps(value).encode() + b"\n\n"):
        refusal = read_response(body).refusal
        assert refusal is not None
        assert refusal.message == "boom"


def test_a_stream_in_place_of_a_whole_reply_is_the_response_of_its_last_event() -> None:
    whole = response(1, Script(), {"model": "m"}, "fake")
    for event in ("response.completed", "response.incomplete"):
        events = [{"type": "response.created", "response": {}}, {"type": event, "response": whole}]
        body = b"".join(b": ping\n\ndata: " + json.dumps(one).encode() + b"\n\n" for one in events)
        completion = read_response(body + b"data: [DONE]\n\n")
        assert json.loads(completion.body) == whole
        assert completion.usage is not None


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "response.failed", "response": {"status": "failed", "error": {"message": "boom"}}}],
        [{"type": "response.created", "response": {}}, {"type": "error", "message": "boom"}],
        [{"type": "response.created", "response": {}}],
        [],
    ],
)
def test_a_failed_or_cut_stream_in_place_of_a_whole_reply_is_a_refusal(events: list[Any]) -> None:
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)
    assert read_response(body + b"data: [DONE]\n\n").refusal is not None


@pytest.mark.parametrize("value", [None, 5, [], {}, {"error": None}, {"error": {}}, {"error": [1]}])
def test_a_failure_without_details_has_a_default_message(value: Any) -> None:
    assert response_error_body(value) == UpstreamErrorBody(
        message="The provider failed to answer.", type="server_error"
    )


def test_a_failure_keeps_its_type_param_and_class() -> None:
    error = {"message": "no", "type": "invalid", "param": "input", "code": "context_length_exceeded"}
    assert response_error_body({"error": error}) == UpstreamErrorBody(
        message="no", type="invalid", param="input", code="context_length_exceeded", about="context_length"
    )
