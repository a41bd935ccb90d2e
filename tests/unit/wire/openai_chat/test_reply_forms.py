"""A whole reply as chunks, and chunks as a whole reply."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.sse import event_data, split_events
from llm_gateway.wire.openai_chat.reply_forms import as_chunks, as_whole, has_delta, has_message

CALLS = [
    {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]
MESSAGE = {"role": "assistant", "content": "Hi", "tool_calls": CALLS}
CHAT = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": MESSAGE}],
    "usage": {"total_tokens": 1},
}


def chunks_of(reply: dict[str, Any], *, is_chat: bool = True) -> list[Any]:
    events = split_events(as_chunks(reply, is_chat=is_chat))
    return [msgspec.json.decode(event_data(event) or b"") for event in events]


def test_a_reply_survives_both_ways() -> None:
    assert as_whole(chunks_of(CHAT), is_chat=True) == CHAT


def test_the_calls_of_a_chunk_have_an_index() -> None:
    chunk, usage = chunks_of(CHAT)
    assert [call["index"] for call in chunk["choices"][0]["delta"]["tool_calls"]] == [0, 1]
    assert (usage["choices"], usage["usage"]) == ([], {"total_tokens": 1})


def test_a_legacy_completion_survives_both_ways() -> None:
    reply = {"object": "text_completion", "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]}
    assert as_whole(chunks_of(reply, is_chat=False), is_chat=False) == reply


@pytest.mark.parametrize("value", [None, 5, [], {}, {"choices": []}, {"choices": [5]}, {"choices": [{}]}])
def test_other_values_are_neither_form(value: Any) -> None:
    assert not has_delta(value)
    assert not has_message(value)


def test_who_sends_both_parts_sends_a_chunk_and_is_left_alone() -> None:
    value = {"choices": [{"delta": {"content": "a"}, "message": {"content": "a"}}]}
    assert not has_message(value)
    assert not has_delta(value)
