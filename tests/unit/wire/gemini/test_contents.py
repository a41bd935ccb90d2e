"""Gemini's JSON is read under Google's names; anything else is a bad reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import WireUsage, is_list, read_models, read_replies, read_reply
from llm_gateway.wire.raw_json import says_nothing
from tests.fakes.gemini_wire import as_list, chunks, streamed, unary

UNREADABLE = [b"", b"nonsense", b"[[]]", b"5", b'"\\ud800"', b"\xff", b"[" * 5000]


def test_a_unary_reply() -> None:
    reply = read_reply(unary("thinking"))
    assert reply.candidates is not None
    [candidate] = reply.candidates
    assert candidate.finish_reason == "STOP"
    assert candidate.content is not None
    assert candidate.content.parts is not None
    thought, answer = candidate.content.parts
    assert (thought.thought, answer.thought) == (True, None)
    assert answer.text == "There are **3** r's in strawberry."
    assert isinstance(reply.usage_metadata, WireUsage)
    assert reply.usage_metadata.thoughts_token_count == 302
    assert (reply.model_version, bytes(reply.error)) == ("gemini-3-flash-preview", b"null")


def test_a_call_keeps_its_arguments_byte_for_byte() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"n":  1.50}}}]}}]}'
    [candidate] = read_reply(body).candidates or []
    assert candidate.content is not None
    [part] = candidate.content.parts or []
    assert part.function_call is not None
    assert bytes(part.function_call.args) == b'{"n":  1.50}'
    assert part.function_call.id is None


def test_unknown_fields_are_skipped() -> None:
    reply = read_reply(b'{"responseId": "1", "tomorrow": {"x": []}, "candidates": [{"tomorrow": 1}]}')
    assert reply.response_id == "1"
    assert [candidate.index for candidate in reply.candidates or ()] == [0]


def test_why_a_prompt_was_blocked() -> None:
    feedback = read_reply(unary("blocked-prompt")).prompt_feedback
    assert feedback is not None
    assert feedback.block_reason == "PROHIBITED_CONTENT"


def test_a_list_holds_the_events_of_a_stream() -> None:
    assert len(read_replies(as_list("text"))) == len(chunks(streamed("text"))) > 1
    assert len(read_replies(unary("text"))) == 1
    assert read_replies(b"[]") == []


@pytest.mark.parametrize(("body", "expected"), [(b" \r\n[]", True), (b"{}", False), (b"", False)])
def test_a_list_is_told_from_a_reply(body: bytes, expected: bool) -> None:
    assert is_list(body) is expected


def test_models_and_their_methods() -> None:
    models = read_models(json.dumps({"models": [{"name": "models/a"}]}).encode())
    assert [(model.name, model.supported_generation_methods) for model in models] == [("models/a", None)]
    assert read_models(b"{}") == []


@pytest.mark.parametrize("read", [read_reply, read_replies, read_models])
@pytest.mark.parametrize("body", UNREADABLE)
def test_anything_else_is_a_bad_reply(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(BadReply):
        read(body)


def test_a_model_without_a_name_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        read_models(b'{"models": [{}]}')


def test_one_odd_field_hides_nothing_else() -> None:
    body = b"""{"candidates": [{"content": {"parts": [7, {"text": "Yes", "thought": "no"}]}, "index": null,
        "finishReason": "STOP", "finishMessage": []}], "usageMetadata": [], "error": false, "responseId": 7}"""
    reply = read_reply(body)
    assert reply.candidates is not None
    (candidate,) = reply.candidates
    assert (candidate.index, candidate.finish_reason, candidate.finish_message) == (0, "STOP", None)
    assert candidate.content is not None
    assert [(part.text, part.thought) for part in candidate.content.parts or ()] == [("Yes", None)]
    assert (reply.usage_metadata, reply.response_id) == ([], None)
    assert says_nothing(reply.error)
