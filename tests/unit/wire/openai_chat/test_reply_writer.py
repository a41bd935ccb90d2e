"""Replies and chunks in OpenAI's shape, written from another dialect's content."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.wire.openai_chat.reply_writer import (
    Choice,
    Delta,
    FunctionCallDelta,
    ReplyWriter,
    ToolCallDelta,
)

USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, cached_tokens=1, reasoning_tokens=1)
WIRE_USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
CALL = ToolCallDelta(index=0, id="c", type="function", function=FunctionCallDelta(name="f", arguments="{}"))


def writer(endpoint: EndpointName = "chat/completions", *, wants_usage: bool = True) -> ReplyWriter:
    request = ModelRequest(
        endpoint=endpoint, model="m", stream=True, wants_usage=wants_usage, fields={}, created=1_764_000_000
    )
    return ReplyWriter(request, reply_id="id-1", model="up")


def data(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return msgspec.json.decode(event[6:])


def test_a_whole_chat_reply() -> None:
    body = writer().whole(Delta(content="Hi", tool_calls=[CALL]), "tool_calls", USAGE)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": [call]}
    assert msgspec.json.decode(body) == {
        "id": "id-1",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": "up",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}],
        "usage": WIRE_USAGE,
    }
    ChatCompletion.model_validate_json(body, strict=True)


def test_a_chat_reply_without_content_says_null() -> None:
    body = msgspec.json.decode(writer().whole(Delta(refusal="No."), "content_filter", None))
    assert body["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": "No."}
    assert body["usage"] is None


def test_a_whole_legacy_reply() -> None:
    body = writer("completions").whole(Delta(content="Hi", reasoning_content="so"), "length", USAGE)
    found = msgspec.json.decode(body)
    assert found["object"] == "text_completion"
    assert found["choices"] == [{"index": 0, "text": "Hi", "logprobs": None, "finish_reason": "length"}]
    Completion.model_validate_json(body)
    silent = msgspec.json.decode(writer("completions").whole(Delta(), "stop", None))
    assert silent["choices"][0]["text"] == ""


def test_choices_are_numbered_and_keep_their_log_probabilities() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5}]}
    choices = [Choice(Delta(content="a"), "stop", logprobs), Choice(Delta(content="b"), "length")]
    found = msgspec.json.decode(writer().whole_of(choices, None))["choices"]
    assert [(one["index"], one["message"]["content"]) for one in found] == [(0, "a"), (1, "b")]
    assert [one["logprobs"] for one in found] == [logprobs, None]


def test_raw_json_of_a_provider_is_written_as_it_is() -> None:
    raw = msgspec.Raw(b'{"signature": 1.0}')
    delta = Delta(content="a", extra_content={"google": raw})
    assert b'"extra_content":{"google":' + bytes(raw) + b"}" in writer().whole(delta, "stop", None)
    assert b'"extra_content":{"google":' + bytes(raw) + b"}" in writer().chunk(delta)


def test_a_chat_chunk_has_only_what_is_new() -> None:
    event = writer().chunk(Delta(role="assistant", tool_calls=[CALL]), index=2)
    found = data(event)
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    delta = {"role": "assistant", "tool_calls": [call]}
    assert found["object"] == "chat.completion.chunk"
    assert found["choices"] == [{"index": 2, "delta": delta, "logprobs": None, "finish_reason": None}]
    assert "usage" not in found
    ChatCompletionChunk.model_validate_json(event[6:], strict=True)


def test_the_last_chunk_of_a_chat_may_be_empty() -> None:
    choice = data(writer().chunk(Delta(), "stop"))["choices"][0]
    assert (choice["delta"], choice["finish_reason"]) == ({}, "stop")


@pytest.mark.parametrize(
    ("delta", "finish_reason", "text"),
    [
        (Delta(content="Hi"), None, "Hi"),
        (Delta(), "stop", ""),
        (Delta(role="assistant"), None, None),
        (Delta(content=""), None, None),
        (Delta(reasoning_content="so"), None, None),
    ],
)
def test_a_legacy_stream_skips_events_without_text(
    delta: Delta, finish_reason: Any, text: str | None
) -> None:
    event = writer("completions").chunk(delta, finish_reason)
    if text is None:
        assert event == b""
    else:
        assert data(event)["object"] == "text_completion"
        assert data(event)["choices"][0]["text"] == text


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
def test_the_usage_event_is_written_only_on_request(endpoint: EndpointName) -> None:
    found = data(writer(endpoint).usage(USAGE))
    assert (found["choices"], found["usage"]) == ([], WIRE_USAGE)
    assert writer(endpoint, wants_usage=False).usage(USAGE) == b""


def test_id_and_model_may_be_set_before_the_first_write() -> None:
    late = writer()
    late.reply_id, late.model = "id-2", "other"
    found = data(late.chunk(Delta(content="a")))
    assert (found["id"], found["model"]) == ("id-2", "other")


def test_usage_has_the_parts_that_openai_has_a_place_for() -> None:
    quantities: dict[str, int | float] = {
        "input_audio_tokens": 7,
        "input_image_tokens": 8,
        "output_audio_tokens": 9,
        "input_video_tokens": 5,
        "web_searches": 1,
    }
    details = UsageDetails(quantities=quantities, served_tier="flex", cost_nano_usd=5)
    usage = Usage(50, 20, 70, 1, 1, "provider", 4, details)
    body = writer().whole(Delta(content="Hi"), "stop", usage)
    assert msgspec.json.decode(body)["usage"] == {
        "prompt_tokens": 50,
        "completion_tokens": 20,
        "total_tokens": 70,
        "prompt_tokens_details": {
            "cached_tokens": 1,
            "cache_write_tokens": 4,
            "audio_tokens": 7,
            "image_tokens": 8,
        },
        "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 9},
    }
    read = ChatCompletion.model_validate_json(body, strict=True).usage
    assert read is not None
    assert read.prompt_tokens_details is not None
    assert not read.prompt_tokens_details.model_extra
    assert read.completion_tokens_details is not None
    assert not read.completion_tokens_details.model_extra
