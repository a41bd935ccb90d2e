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
    "body", [b'{"usage":"much"}', b'{"usage":{"input_tokens":-1}}', b'{"status":5}', b'{"usage":null}']
)
def test_an_object_of_an_unusual_shape_passes_without_usage(body: bytes) -> None:
    completion = read_response(body)
    assert (completion.body, completion.usage, completion.refusal) == (body, None, None)


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"", b"\xff", b"[" * 20_000])
def test_a_body_that_is_no_json_object_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        read_response(body)


def test_a_failed_response_is_a_refusal() -> None:
    failed = read_response(b'{"status":"failed","error":{"code":"server_error","message":"boom"}}').refusal
    assert failed == UpstreamErrorBody(message="boom", type="server_error", code="server_error")


@pytest.mark.parametrize("status", ["completed", "incomplete", "cancelled"])
def test_an_error_field_alone_is_no_refusal(status: str) -> None:
    body = json.dumps({"status": status, "error": {"message": "boom"}}).encode()
    assert read_response(body).refusal is None


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
