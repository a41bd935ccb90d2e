"""Gemini's streams become chat completion chunks that say what the unary reply says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from llm_gateway.core.ledger.usage import StatedUsage, Usage
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
    refusal = UpstreamErrorBody(message="Overloaded.", type="server_error", code="unavailable")
    for one in (body, b"[" + body + b"]"):
        assert ADAPTER.decode(one, request()).refusal == refusal
        reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
        assert reader.whole(one) == b""
        assert reader.refusal == refusal
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


def test_an_empty_answer_ends_with_an_empty_text() -> None:
    body = json.dumps({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model"}}]})
    reader = GeminiStream(request(stream=True), event_limit=LIMIT)
    events = chunks(reader.feed(f"data: {body}\n\n".encode()) + reader.end())
    deltas = [chunk["choices"][0]["delta"] for chunk in events]
    assert "".join(delta.get("content") or "" for delta in deltas) == ""
    assert deltas[-1] == {"content": ""}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def piece(text: str | None = None, **fields: Any) -> bytes:
    """Return one event with a candidate."""
    content = {} if text is None else {"content": {"parts": [{"text": text}], "role": "model"}}
    return b"data: " + json.dumps({"candidates": [content | fields]}).encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    "reason",
    [None, "", " ", "null", "None", "NOT_FINISHED", "FINISH_REASON_UNSPECIFIED", "UNSPECIFIED", 7, []],
)
def test_a_finish_reason_that_says_nothing_is_not_the_end(reason: Any) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    reader.feed(piece("", finishReason=reason))
    assert not reader.content_seen
    reader.feed(piece("Hel", finishReason=reason))
    assert reader.end() == b""
    assert (reader.content_seen, reader.finished, reader.done) == (True, False, False)


def test_an_error_as_finish_reason_is_a_failure() -> None:
    for reason in ("ERROR", "error", "INTERNAL_ERROR", "FAILED", "CANCELLED"):
        reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
        reader.feed(piece("Hel") + piece(finishReason=reason))
        assert reader.end() == b""
        assert reader.refusal is not None


@pytest.mark.parametrize(
    "noise",
    [
        b"data:\n\n", b"data: \r\n\r\n", b": keep-alive\n\n", b"data: {}\n\n", b'data: {"error": false}\n\n',
        b'data: {"error": null, "usageMetadata": []}\n\n', b"data: [DONE]\n\n", b"event: ping\n\n", b"data: PING\n\n",
        b'data: {"candidates": []}\n\n',
    ],
)  # fmt: skip
def test_noise_ends_no_good_answer(noise: bytes) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    out = b""
    for event in streamed("text").split(b"\r\n\r\n")[:-1]:
        out += reader.feed(noise) + reader.feed(event + b"\r\n\r\n")
    out += reader.feed(noise) + reader.end()
    assert (reader.finished, reader.refusal) == (True, None)
    events = b"".join(one + b"\n\n" for one in out.split(b"\n\n") if one.startswith(b"data"))
    assert assembled(events) == complete_recording("text")


def test_openais_end_marker_ends_only_a_complete_answer() -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    assert reader.feed(piece("Hel") + b"data: [DONE]\n\n").endswith(b'"finish_reason":null}]}\n\n')
    assert not reader.finished
    out = chunks(reader.feed(piece("lo", finishReason="STOP") + b"data: [DONE]\n\n" + piece("more")))
    assert [one["choices"][0]["finish_reason"] for one in out] == [None, "stop"]
    assert reader.done is True
    assert reader.end() == b""


def test_one_odd_field_hides_nothing_else_in_an_event() -> None:
    odd: dict[str, Any] = {
        "index": None,
        "safetyRatings": 7,
        "finishMessage": [],
        "logprobsResult": "x",
        "citationMetadata": [],
    }
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    assert b"Hello" in reader.feed(piece("Hello", **odd))
    assert reader.content_seen
    reader.feed(
        piece("", finishReason="STOP", **odd).replace(b'"candidates"', b'"usageMetadata": [], "candidates"')
    )
    assert chunks(reader.end())[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ANSWERS)
def test_json_in_place_of_a_stream_is_read_whatever_its_content_type(name: str) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    asked = request(**ASKED, **wanted)
    for body in (unary(name), as_list(name)):
        events, usage = read_whole_reply(ADAPTER, body, asked)
        reader = GeminiStream(asked, event_limit=LIMIT)
        assert reader.feed(body) + reader.end() == events
        assert (reader.content_seen, reader.finished, reader.usage) == (True, True, usage)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_labelled_as_json_is_read_as_a_stream(name: str) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    asked = request(**ASKED, **wanted)
    events, _ = read_whole_reply(ADAPTER, streamed(name), asked)
    assert assembled(events) == complete_recording(name)
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, streamed("cut"), request(**ASKED))


def test_candidates_are_bounded() -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    reader.feed(b"".join(piece("x", index=index) for index in range(200)))
    assert reader.refusal is not None


def counted(text: str | None, counts: object, **more: Any) -> bytes:
    parts = [] if text is None else [{"text": text}]
    reply = {"candidates": [{"content": {"parts": parts}, "index": 0, **more}], "usageMetadata": counts}
    return b"data: " + json.dumps(reply).encode() + b"\n\n"


PROMPT = {"promptTokenCount": 100_025, "totalTokenCount": 100_025}
BOTH = {"promptTokenCount": 100_025, "candidatesTokenCount": 7, "totalTokenCount": 100_032}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([counted("a", None)], None),
        ([counted("a", [])], None),
        ([counted("a", PROMPT)], StatedUsage(100_025, 0, 100_025)),
        ([counted("a", PROMPT), counted("b", None)], StatedUsage(100_025)),
        ([counted("a", PROMPT), counted("b", BOTH)], Usage(100_025, 7, 100_032)),
        # Words after the count make it out of date, the end does not.
        ([counted("a", BOTH), counted("b", None)], StatedUsage(100_025)),
        ([counted("a", BOTH), counted("b", {"promptTokenCount": 100_025})], StatedUsage(100_025)),
        ([counted("a", BOTH), counted(None, None, finishReason="STOP")], Usage(100_025, 7, 100_032)),
        (
            [counted("a", BOTH), counted(None, {"promptTokenCount": 0}, finishReason="STOP")],
            Usage(100_025, 7, 100_032),
        ),
        (
            [counted("a", {"promptTokenCount": "100025", "candidatesTokenCount": 7.0})],
            Usage(100_025, 7, 100_032),
        ),
        ([counted("a", {"candidatesTokenCount": 25})], StatedUsage(None, 25)),
    ],
)
def test_what_a_stream_states_is_kept_and_only_the_rest_is_open(
    events: list[bytes], expected: Usage | StatedUsage | None
) -> None:
    reader = GeminiStream(request(**ASKED), event_limit=LIMIT)
    for event in events:
        reader.feed(event)
    assert reader.refusal is None
    assert reader.usage == expected
