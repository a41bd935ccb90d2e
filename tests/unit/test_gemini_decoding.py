"""What Gemini's answers become for a client, held against the types of OpenAI's SDK."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai.types import Completion as LegacyCompletion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.wire.errors import BadReply
from tests.fakes.gemini_wire import (
    ANSWERS,
    BROKEN,
    as_list,
    assembled,
    chunks,
    request,
    streamed,
    unary,
)
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = GeminiAdapter(GEMINI)
ASKED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
LIMIT = 1 << 20


def decode(name: str, **fields: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    whole: dict[str, Any] = json.loads(ADAPTER.decode(unary(name), request(**wanted | fields)).body)
    return whole


def message(name: str) -> dict[str, Any]:
    said: dict[str, Any] = decode(name)["choices"][0]["message"]
    return said


def ended(name: str) -> str:
    reason: str = decode(name)["choices"][0]["finish_reason"]
    return reason


@pytest.mark.parametrize("name", ANSWERS)
def test_completions_and_chunks_are_of_openais_types(name: str) -> None:
    ChatCompletion.model_validate(decode(name), strict=True)
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    for chunk in chunks(reader.feed(streamed(name)) + reader.end()):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    if "tool-call" not in name:
        LegacyCompletion.model_validate(decode(name, endpoint="completions"), strict=True)


def test_a_text_with_its_names_and_counts() -> None:
    assert decode("text") == {
        "id": "vQRpaqzAPN2M9MoPxPq2uQ4",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gemini-2.5-flash",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "AI learns patterns from data and uses them on new data.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 8,
            "completion_tokens": 13,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_thoughts_are_reasoning_and_are_paid_for() -> None:
    said = message("thinking")
    assert said["reasoning_content"].startswith("**Counting letters**")
    assert said["content"] == "There are **3** r's in strawberry."
    assert said["extra_content"]["google"]["thought_signature"].startswith("Epc")
    usage = decode("thinking")["usage"]
    assert usage["completion_tokens"] == 325
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 302}
    assert usage["total_tokens"] == 334


def test_calls_have_ids_json_arguments_and_their_signature() -> None:
    assert message("parallel-tool-calls")["tool_calls"] == [
        {
            "id": "lpndqlku",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
            "extra_content": {
                "google": {"thought_signature": "EpEgCo4gAb4+9vtUaGUgc2lnbmF0dXJlIG9mIGEgdGhvdWdodA=="}
            },
        },
        {
            "id": "m6rogicj",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Tōkyō"}'},
        },
        {"id": "k2x9", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
    ]
    assert ended("parallel-tool-calls") == "tool_calls"
    arguments = message("tool-call")["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"location":"San Francisco","days":2,"exact":1.0}'


def test_calls_without_ids_get_some() -> None:
    ids = [call["id"] for call in message("tool-calls-without-ids")["tool_calls"]]
    assert ids == ["call_kNiDavuDIcja_uMP8tCj-QU_0_0", "call_kNiDavuDIcja_uMP8tCj-QU_0_1"]


@pytest.mark.parametrize(
    ("name", "reason", "refusal"),
    [
        ("blocked-prompt", "content_filter", "The provider blocked the prompt: PROHIBITED_CONTENT."),
        ("safety-stop", "content_filter", "The provider stopped the answer: SAFETY."),
        ("max-tokens", "length", None),
        ("max-tokens-while-thinking", "length", None),
        ("tool-call", "tool_calls", None),
        ("structured", "stop", None),
    ],
)
def test_every_end_has_its_reason(name: str, reason: str, refusal: str | None) -> None:
    assert ended(name) == reason
    assert message(name)["refusal"] == refusal


def test_a_blocked_prompt_is_counted() -> None:
    assert decode("blocked-prompt")["usage"]["prompt_tokens"] == 9
    assert decode("blocked-prompt")["usage"]["completion_tokens"] == 0


def test_cached_tokens_are_a_part_of_the_prompt() -> None:
    usage = decode("cached")["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (2152, 2048)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 4,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 12,
            },
            (5, 7, 12),
        ),
        (
            {
                "promptTokenCount": 5,
                "toolUsePromptTokenCount": 2,
                "candidatesTokenCount": 4,
                "totalTokenCount": 11,
            },
            (7, 4, 11),
        ),
        ({"promptTokenCount": 5, "totalTokenCount": 9}, (5, 4, 9)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 4}, (5, 4, 9)),
    ],
)
def test_usage_adds_up(counts: dict[str, int], told: tuple[int, int, int]) -> None:
    reply = json.loads(unary("text")) | {"usageMetadata": counts}
    usage = ADAPTER.decode(json.dumps(reply).encode(), request()).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == told


@pytest.mark.parametrize("counts", [None, {}, {"promptTokenCount": -1}, {"promptTokenCount": 2**50}])
def test_counts_that_cannot_be_are_not_believed(counts: dict[str, int] | None) -> None:
    reply = json.loads(unary("text")) | {"usageMetadata": counts}
    assert ADAPTER.decode(json.dumps(reply).encode(), request()).usage is None


def test_every_candidate_is_a_choice() -> None:
    texts = [choice["message"]["content"] for choice in decode("two-candidates", n=2)["choices"]]
    assert texts == ["Heads.", "Tails."]


def test_log_probabilities_step_by_step() -> None:
    steps = decode("logprobs")["choices"][0]["logprobs"]["content"]
    assert [(step["token"], step["logprob"]) for step in steps] == [("Yes", -0.25), (".", -0.125)]
    assert [top["token"] for top in steps[0]["top_logprobs"]] == ["Yes", "x"]


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_none_is_a_failure(name: str) -> None:
    with pytest.raises(BadReply):
        decode(name)
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    reader.feed(streamed(name))
    reader.end()
    assert reader.refusal is not None
    at_once = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    at_once.whole(unary(name))
    assert at_once.refusal == reader.refusal
    assert not at_once.done


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"candidates": []}', b"[[]]"])
def test_what_is_no_reply_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode(body, request())
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, body, request(**ASKED))


def test_an_error_under_a_2xx_is_a_failure_too() -> None:
    body = b'{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}'
    with pytest.raises(BadReply):
        ADAPTER.decode(body, request())
    for one in (body, b"[" + body + b"]"):
        reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
        assert reader.whole(one) == b""
        assert reader.refusal == UpstreamErrorBody(
            message="Overloaded.", type="server_error", code="unavailable"
        )
        assert not reader.done


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_tells_what_the_whole_reply_tells(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    reader = ADAPTER.stream(request(endpoint=endpoint, **ASKED, **wanted), event_limit=LIMIT)
    events = reader.feed(streamed(name)) + reader.end()
    assert assembled(events) == decode(name, endpoint=endpoint)
    assert reader.finished
    assert reader.content_seen
    assert reader.refusal is None
    assert reader.usage == ADAPTER.decode(unary(name), request()).usage
    assert reader.end() == b""


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_json_that_answers_a_streamed_request_tells_the_same(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    asked = request(endpoint=endpoint, **ASKED, **wanted)
    reader = ADAPTER.stream(asked, event_limit=LIMIT)
    live = reader.feed(streamed(name)) + reader.end()
    assert read_whole_reply(ADAPTER, as_list(name), asked) == (live, reader.usage)
    events, usage = read_whole_reply(ADAPTER, unary(name), asked)
    assert assembled(events) == decode(name, endpoint=endpoint)
    assert usage == reader.usage


def test_usage_is_kept_from_who_did_not_ask() -> None:
    reader = ADAPTER.stream(request(stream=True), event_limit=LIMIT)
    events = reader.feed(streamed("text")) + reader.end()
    assert b"usage" not in events
    assert reader.usage is not None


def test_a_list_that_ends_early_is_no_answer() -> None:
    with pytest.raises(BadReply):
        read_whole_reply(
            ADAPTER, b"[" + json.dumps(chunks(streamed("text"))[0]).encode() + b"]", request(**ASKED)
        )


def test_a_cut_stream_never_looks_whole() -> None:
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed("cut")) + reader.end()
    assert assembled(events)["choices"][0]["message"]["content"] == "AI learns patterns"
    assert reader.content_seen
    assert not reader.finished
    assert not reader.done
    assert reader.usage is not None
    assert reader.usage.completion_tokens == 3


@pytest.mark.parametrize("name", ["failing-event", "failing-bare"])
def test_a_stream_that_fails_says_how(name: str) -> None:
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed(name)) + reader.end()
    assert assembled(events)["choices"][0]["message"]["content"] == "AI learns patterns"
    assert reader.refusal is not None
    assert reader.refusal.message == "The model is overloaded. Please try again later."
    assert not reader.finished


def test_nonsense_in_a_stream_is_a_failure_before_content_and_an_end_after() -> None:
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    with pytest.raises(BadReply):
        reader.feed(b"data: nonsense\r\n\r\n")
    reader = ADAPTER.stream(request(**ASKED), event_limit=LIMIT)
    events = reader.feed(streamed("text").split(b"\r\n\r\n")[0] + b"\r\n\r\ndata: nonsense\r\n\r\n")
    assert b"AI learns" in events
    assert reader.refusal is not None


def refusal(name: str) -> UpstreamErrorBody:
    return ADAPTER.decode_error(unary(name))


def test_errors_say_what_they_are_about() -> None:
    limit = refusal("error-rate-limit")
    assert (limit.type, limit.code, limit.retry_after) == ("rate_limit_error", "rate_limit_exceeded", 34.4)
    long = refusal("error-too-long")
    assert (long.type, long.code, long.about) == (
        "invalid_request_error",
        "context_length_exceeded",
        "context_length",
    )
    assert refusal("error-no-model").code == "model_not_found"
    assert refusal("error-overloaded").type == "server_error"
    assert (refusal("error-thinking-level").type, refusal("error-thinking-level").about) == (
        "invalid_request_error",
        None,
    )
    policy = {"error": {"message": "The prompt violates the Generative AI Prohibited Use policy."}}
    assert ADAPTER.decode_error(json.dumps(policy).encode()).about == "content_policy"
    assert ADAPTER.decode_error(b"[" + unary("error-no-model") + b"]") == refusal("error-no-model")


def test_a_bad_key_is_not_told_to_be_the_clients() -> None:
    told = refusal("error-bad-key")
    assert told.type == "upstream_error"
    assert told.message is not None
    assert "gateway's own key" in told.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": "x"}', b"\xff", b"[" * 5000])
def test_any_error_body_is_read(body: bytes) -> None:
    assert ADAPTER.decode_error(body).about is None


def test_the_models_that_answer_are_listed() -> None:
    assert ADAPTER.decode_models(unary("models")) == ["gemini-2.5-flash", "gemini-3-flash-preview"]
    assert ADAPTER.decode_models(b"{}") == []
    with pytest.raises(BadReply):
        ADAPTER.decode_models(b"[]")


def test_a_long_error_is_soon_read() -> None:
    body = json.dumps({"error": {"message": "token count " * 20_000, "status": "INTERNAL"}}).encode()
    begun = time.monotonic()
    assert ADAPTER.decode_error(body).about is None
    # A search through all of it takes some seconds.
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("delay", "seconds"), [("34.07s", 34.07), ("0s", 0.0), ("9" * 400 + "s", None), ("-1s", None)]
)
def test_a_delay_is_some_seconds(delay: str, seconds: float | None) -> None:
    error = {"message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": delay}]}
    assert ADAPTER.decode_error(json.dumps({"error": error}).encode()).retry_after == seconds
