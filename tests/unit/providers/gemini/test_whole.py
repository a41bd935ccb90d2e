"""Gemini's unary replies become chat completions, checked with the types of OpenAI's SDK."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai.types import Completion as LegacyCompletion
from openai.types.chat import ChatCompletion

from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.gemini.whole import complete
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import read_reply
from tests.fakes.gemini_wire import (
    ANSWERS,
    BROKEN,
    as_list,
    chunks,
    complete_recording,
    request,
    streamed,
    unary,
)
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = GeminiAdapter(GEMINI)


def test_a_text_with_its_ids_and_usage() -> None:
    assert complete_recording("text") == {
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


@pytest.mark.parametrize(
    "content", [{}, {"content": {"role": "model"}}, {"content": {"parts": [{"text": ""}]}}]
)
@pytest.mark.parametrize(("reason", "finish"), [("STOP", "stop"), ("MAX_TOKENS", "length")])
def test_an_empty_answer_is_a_text(content: dict[str, object], reason: str, finish: str) -> None:
    body = {"candidates": [{"index": 0, "finishReason": reason, **content}]}
    [choice] = json.loads(complete(read_reply(json.dumps(body).encode()), request()).body)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", finish)


def test_an_answer_that_is_a_call_or_was_stopped_has_no_text() -> None:
    call = {"parts": [{"functionCall": {"name": "f", "args": {}}}]}
    for candidate in ({"content": call, "finishReason": "STOP"}, {"finishReason": "SAFETY"}):
        body = json.dumps({"candidates": [{"index": 0, **candidate}]}).encode()
        [choice] = json.loads(complete(read_reply(body), request()).body)["choices"]
        assert choice["message"]["content"] is None


def test_every_candidate_is_a_choice() -> None:
    texts = [choice["message"]["content"] for choice in complete_recording("two-candidates", n=2)["choices"]]
    assert texts == ["Heads.", "Tails."]


def test_a_blocked_prompt_is_counted() -> None:
    assert complete_recording("blocked-prompt")["usage"]["prompt_tokens"] == 9
    assert complete_recording("blocked-prompt")["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("name", ANSWERS)
def test_completions_have_the_types_of_openais_sdk(name: str) -> None:
    ChatCompletion.model_validate(complete_recording(name), strict=True)
    if "tool-call" not in name:
        LegacyCompletion.model_validate(complete_recording(name, endpoint="completions"), strict=True)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_a_bad_reply(name: str) -> None:
    with pytest.raises(BadReply):
        complete_recording(name)


def test_a_reply_without_a_candidate_is_a_bad_reply() -> None:
    for body in (b"{}", b'{"candidates": []}', b'{"promptFeedback": {}}'):
        with pytest.raises(BadReply, match="contains no answer"):
            complete(read_reply(body), request())


def test_an_error_with_a_success_status_is_a_bad_reply() -> None:
    body = b'{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}'
    with pytest.raises(BadReply):
        complete(read_reply(body), request())


def test_candidates_are_sorted_by_index() -> None:
    reply = json.loads(unary("two-candidates"))
    reply["candidates"].reverse()
    body = complete(read_reply(json.dumps(reply).encode()), request(n=2)).body
    assert json.loads(body) == complete_recording("two-candidates")


def test_a_blocked_prompt_is_one_refusal_a_choice() -> None:
    choices = complete_recording("blocked-prompt", n=3)["choices"]
    assert [(choice["index"], choice["finish_reason"]) for choice in choices] == [
        (index, "content_filter") for index in range(3)
    ]


def test_a_reply_without_an_id_and_a_model_gets_those_of_the_request() -> None:
    reply = json.loads(unary("text"))
    del reply["responseId"], reply["modelVersion"]
    body = json.loads(complete(read_reply(json.dumps(reply).encode()), request()).body)
    assert (body["id"], body["model"]) == ("chatcmpl-1700000000", "public")


NOT_GIVEN: list[Any] = [None, "", " ", "null", "FINISH_REASON_UNSPECIFIED", 7, []]


def answer(**fields: Any) -> bytes:
    candidate = {"content": {"parts": [{"text": "Yes"}]}, "finishReason": "STOP"} | fields
    return json.dumps({"candidates": [candidate]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"candidates": null}', b'{"candidates": []}', b'{"candidates": 5}', b'{"candidates": [{}]}',
        b'{"candidates": [{"index": 0, "content": {"role": "model"}}]}', b'{"promptFeedback": {"blockReason": ""}}',
        b'{"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}', b'{"code": 401, "msg": "no balance"}',
        b'{"object": "error", "message": "busy"}', b'{"candidates": [{"finishReason": ""}]}', b"[]", b"[{}]",
        b"data: [DONE]\n\n", b": ping\n\n", answer(finishReason="ERROR"),
    ],
)  # fmt: skip
def test_a_body_without_an_answer_is_a_bad_reply_or_a_refusal(body: bytes) -> None:
    for read in (refusal_of_reply, refusal_of_stream):
        try:
            refusal = read(body)
        except BadReply:
            continue
        assert refusal is not None


def refusal_of_reply(body: bytes) -> object:
    return ADAPTER.decode(body, request()).refusal


def refusal_of_stream(body: bytes) -> object:
    reader = ADAPTER.stream(request(stream=True), event_limit=1 << 20)
    reader.whole(body)
    return reader.refusal


@pytest.mark.parametrize("reason", NOT_GIVEN)
def test_content_without_a_finish_reason_is_an_answer_if_the_body_is_whole(reason: Any) -> None:
    body = answer(finishReason=reason)
    for sent in (
        ADAPTER.decode(body, request()).body,
        read_whole_reply(ADAPTER, body, request(stream=True))[0],
    ):
        assert b'"Yes"' in sent
        assert b'"finish_reason":"stop"' in sent


@pytest.mark.parametrize("nothing", [None, False, 0, "", {}, []])
def test_an_error_that_says_nothing_is_no_failure(nothing: Any) -> None:
    body = json.dumps(json.loads(answer()) | {"error": nothing}).encode()
    assert ADAPTER.decode(body, request()).refusal is None
    assert b'"Yes"' in read_whole_reply(ADAPTER, body, request(stream=True))[0]


@pytest.mark.parametrize("content", [{}, {"parts": []}, {"parts": [{"text": ""}]}, {"role": "model"}])
def test_an_empty_answer_is_an_empty_text(content: Any) -> None:
    body = answer(content=content)
    made = json.loads(ADAPTER.decode(body, request()).body)["choices"][0]
    assert (made["message"]["content"], made["finish_reason"]) == ("", "stop")
    out, _ = read_whole_reply(ADAPTER, body, request(stream=True))
    assert chunks(out)[-1]["choices"][0]["delta"] == {"content": ""}


def test_a_call_without_a_name_is_a_bad_reply_and_without_arguments_has_none() -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode(answer(content={"parts": [{"functionCall": {"args": {}}}]}), request())
    odd: list[Any] = [None, 7, "x", []]
    for args in odd:
        body = answer(content={"parts": [{"functionCall": {"name": "f", "args": args}}]})
        (call,) = json.loads(ADAPTER.decode(body, request()).body)["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_or_a_list_in_reply_to_a_unary_request_says_the_same(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    asked = request(endpoint=endpoint, **wanted)
    for body in (streamed(name), as_list(name), streamed(name) + b"data: [DONE]\n\n"):
        made = ADAPTER.decode(body, asked)
        assert json.loads(made.body) == complete_recording(name, endpoint=endpoint)
        assert made.usage == ADAPTER.decode(unary(name), asked).usage


def test_many_parts_take_linear_time() -> None:
    body = answer(content={"parts": [{"text": "x"}] * 100_000 + [{"functionCall": {"name": "f"}}] * 50_000})
    begun = time.process_time()
    ADAPTER.decode(body, request())
    assert time.process_time() - begun < 5
