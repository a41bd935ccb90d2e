"""Gemini's streams become chat completion chunks that say what the unary reply says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.gemini.streaming import GeminiStream, expected_choices
from llm_gateway.wire.errors import BadReply
from tests.fakes.gemini_wire import (
    ANSWERS,
    BROKEN,
    as_list,
    assembled,
    chunks,
    complete_recording,
    request,
    streamed,
    unary,
)
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = GeminiAdapter(GEMINI)
ASKED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
LIMIT = 1 << 20


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_says_what_the_unary_reply_says(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    reader = GeminiStream(request(endpoint=endpoint, **ASKED, **wanted), event_limit=LIMIT)
    events = reader.feed(streamed(name)) + reader.end()
    assert assembled(events) == complete_recording(name, endpoint=endpoint)
    assert reader.finished
    assert reader.content_seen
    assert reader.refusal is None
    assert reader.usage == ADAPTER.decode(unary(name), request()).usage
    assert reader.end() == b""


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_json_body_in_reply_to_a_streamed_request_says_the_same(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    asked = request(endpoint=endpoint, **ASKED, **wanted)
    reader = GeminiStream(asked, event_limit=LIMIT)
    live = reader.feed(streamed(name)) + reader.end()
    assert read_whole_reply(ADAPTER, as_list(name), asked) == (live, reader.usage)
    events, usage = read_whole_reply(ADAPTER, unary(name), asked)
    assert assembled(events) == complete_recording(name, endpoint=endpoint)
    assert usage == reader.usage


def test_usage_is_sent_only_on_request() -> None:
    reader = GeminiStream(request(stream=True), event_limit=LIMIT)
    events = reader.feed(streamed("text")) + reader.end()
    assert b"usage" not in events
    assert reader.usage is not None


def test_an_error_with_a_success_status_fails_the_stream() -> None:
    body = b'{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}'
    with pytest.raises(BadReply):
        ADAPTER.decode(body, request())
    for one in (body, b"[" + body + b"]"):
        reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
        assert reader.whole(one) == b""
        assert reader.refusal == UpstreamErrorBody(
            message="Overloaded.", type="server_error", code="unavailable"
        )
        assert not reader.done


def test_a_list_that_ends_early_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        read_whole_reply(
            ADAPTER, b"[" + json.dumps(chunks(streamed("text"))[0]).encode() + b"]", request(**ASKED)
        )


def test_a_truncated_stream_is_not_finished() -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed("cut")) + reader.end()
    assert assembled(events)["choices"][0]["message"]["content"] == "AI learns patterns"
    assert reader.content_seen
    assert not reader.finished
    assert not reader.done
    assert reader.usage is not None
    assert reader.usage.completion_tokens == 3


@pytest.mark.parametrize("name", ["failing-event", "failing-bare"])
def test_an_error_event_fails_the_stream(name: str) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed(name)) + reader.end()
    assert assembled(events)["choices"][0]["message"]["content"] == "AI learns patterns"
    assert reader.refusal is not None
    assert reader.refusal.message == "The model is overloaded. Please try again later."
    assert not reader.finished


def test_invalid_json_raises_before_content_and_fails_the_stream_after() -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    with pytest.raises(BadReply):
        reader.feed(b"data: nonsense\r\n\r\n")
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed("text").split(b"\r\n\r\n")[0] + b"\r\n\r\ndata: nonsense\r\n\r\n")
    assert b"AI learns" in events
    assert reader.refusal is not None


@pytest.mark.parametrize("name", ANSWERS)
def test_chunks_have_the_type_of_openais_sdk(name: str) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    for chunk in chunks(reader.feed(streamed(name)) + reader.end()):
        ChatCompletionChunk.model_validate(chunk, strict=True)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_fails_the_stream(name: str) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    reader.feed(streamed(name))
    reader.end()
    assert reader.refusal is not None
    at_once = GeminiStream(request(**ASKED), event_limit=LIMIT)
    at_once.whole(unary(name))
    assert at_once.refusal == reader.refusal
    assert not at_once.done


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"candidates": []}', b"[[]]"])
def test_a_json_body_without_an_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, body, request(**ASKED))


def test_a_blocked_prompt_is_one_refusal_a_choice() -> None:
    reader = GeminiStream(request(n=2, **ASKED), event_limit=LIMIT)
    choices = assembled(reader.feed(streamed("blocked-prompt")) + reader.end())["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["content_filter", "content_filter"]


def test_a_stream_lacking_a_choice_is_not_finished() -> None:
    reader = GeminiStream(request(n=2, **ASKED), event_limit=LIMIT)
    events = reader.feed(streamed("text")) + reader.end()
    assert not reader.finished
    assert b'"finish_reason":"stop"' not in events


@pytest.mark.parametrize(("n", "choices"), [(None, 1), (3, 3), ("x", 1)])
def test_expected_choices(n: Any, choices: int) -> None:
    assert expected_choices(request(n=n)) == choices
