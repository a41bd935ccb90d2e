"""How unary replies are translated, also into the events of an equivalent stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.decoding import events_of, is_empty, read_reply
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, FunctionCallDelta, ToolCallDelta
from tests.fakes.anthropic_replies import ASKED, LEGACY, chunks, message
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()


def choice(body: bytes, request: Any = ASKED) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(ADAPTER.decode(body, request).body)["choices"][0]
    return made


def test_a_refusal_has_its_explanation_or_a_default() -> None:
    details = {"type": "refusal", "category": None, "explanation": "Because."}
    assert choice(message(stop_reason="refusal", stop_details=details))["message"] == {
        "role": "assistant", "content": None, "refusal": "Because.",
    }  # fmt: skip
    said = choice(message({"type": "text", "text": "Well"}, stop_reason="refusal"))["message"]
    assert (said["content"], said["refusal"]) == ("Well", "The model declined to answer.")


def test_blocks_of_server_tools_are_skipped() -> None:
    body = message(
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "text", "text": "Found.", "citations": [{"type": "web_search_result_location"}]},
    )
    assert choice(body)["message"]["content"] == "Found."
    assert "tool_calls" not in choice(body)["message"]


def test_arguments_keep_every_digit() -> None:
    body = message({"type": "tool_use", "id": "t", "name": "f", "input": {}}).replace(
        b'"input": {}', b'"input": {"n": 1e400, "m": 12345678901234567890123}'
    )
    (call,) = choice(body)["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"n": 1e400, "m": 12345678901234567890123}'


def test_an_empty_message_has_an_empty_content() -> None:
    assert choice(message())["message"]["content"] == ""
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    assert choice(message(thinking))["message"]["content"] == ""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert choice(message(call))["message"]["content"] is None


def test_a_delta_is_empty_without_text_refusal_and_calls() -> None:
    assert is_empty(Delta(reasoning_content="Hm."))
    call = ToolCallDelta(function=FunctionCallDelta(name="f"))
    assert not any(map(is_empty, (Delta(content=""), Delta(refusal="No."), Delta(tool_calls=[call]))))


def test_texts_and_thoughts_are_joined_and_places_counted() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    text = {"type": "text", "text": "Yes"}
    made = choice(message(thought, text, thought, call, thought))["message"]
    assert (made["content"], made["reasoning_content"]) == ("Yes", "Hm.Hm.Hm.")
    places = [
        (one["index"], one.get("after_text", 0), one.get("after_calls", 0))
        for one in made["reasoning_details"]
    ]
    assert places == [(0, 0, 0), (1, 3, 0), (2, 3, 1)]


def test_a_message_becomes_the_events_of_a_stream() -> None:
    reply = read_reply(message({"type": "text", "text": "Yes"}, stop_reason=None))
    events = list(events_of(reply))
    assert [one.type for one in events] == [
        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0].message is not None
    assert (events[0].message.id, events[0].message.model) == ("msg_1", "claude")
    assert events[3].delta is not None
    assert events[3].delta.stop_reason == "end_turn"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"{", b"\xff", b'{"choices": []}', message()[:-1],
        b'{"type": "error", "error": {"type": "api_error", "message": "x"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_body_that_is_not_a_message_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode(body, ASKED)
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, body, ASKED)


def test_a_legacy_completion_has_its_own_shape() -> None:
    body = message({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Yes"})
    assert choice(body, LEGACY) == {"index": 0, "text": "Yes", "logprobs": None, "finish_reason": "stop"}
    events, _ = read_whole_reply(ADAPTER, body, LEGACY)
    assert [one["choices"][0]["text"] for one in chunks(events) if one["choices"]] == ["Yes", ""]
    assert {one["object"] for one in chunks(events)} == {"text_completion"}
