"""Gemini's unary replies become chat completions, checked with the types of OpenAI's SDK."""

from __future__ import annotations

import json

import pytest
from openai.types import Completion as LegacyCompletion
from openai.types.chat import ChatCompletion

from llm_gateway.providers.gemini.whole import complete
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import read_reply
from tests.fakes.gemini_wire import (
    ANSWERS,
    BROKEN,
    complete_recording,
    request,
    unary,
)


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
