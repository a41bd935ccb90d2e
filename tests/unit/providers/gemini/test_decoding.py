"""What a candidate says, how it ends and what it costs, in OpenAI's terms."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.providers.gemini.decoding import CandidateReader, logprobs
from llm_gateway.providers.gemini.names import FunctionNames
from llm_gateway.providers.gemini.whole import complete
from llm_gateway.wire.gemini.contents import (
    WireCandidate,
    WireContent,
    WireFunctionCall,
    WireLogprobs,
    WirePart,
    WirePromptFeedback,
    WireToken,
    WireUsage,
    read_reply,
)
from llm_gateway.wire.gemini.usage import usage_from_wire
from tests.fakes.gemini_wire import (
    complete_recording,
    request,
    unary,
)

NAMES = FunctionNames(request())


def message(name: str) -> dict[str, Any]:
    content: dict[str, Any] = complete_recording(name)["choices"][0]["message"]
    return content


def test_thoughts_are_reasoning_and_count_as_completion_tokens() -> None:
    said = message("thinking")
    assert said["reasoning_content"].startswith("**Counting letters**")
    assert said["content"] == "There are **3** r's in strawberry."
    assert said["extra_content"]["google"]["thought_signature"].startswith("Epc")
    usage = complete_recording("thinking")["usage"]
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
    arguments = message("tool-call")["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"location":"San Francisco","days":2,"exact":1.0}'


def test_calls_without_ids_get_generated_ones() -> None:
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
def test_finish_reasons(name: str, reason: str, refusal: str | None) -> None:
    assert complete_recording(name)["choices"][0]["finish_reason"] == reason
    assert message(name)["refusal"] == refusal


def test_cached_tokens_are_part_of_the_prompt() -> None:
    usage = complete_recording("cached")["usage"]
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
    usage = complete(read_reply(json.dumps(reply).encode()), request()).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == told


@pytest.mark.parametrize("counts", [None, {}, {"promptTokenCount": -1}, {"promptTokenCount": 2**50}])
def test_impossible_counts_are_discarded(counts: dict[str, int] | None) -> None:
    reply = json.loads(unary("text")) | {"usageMetadata": counts}
    assert complete(read_reply(json.dumps(reply).encode()), request()).usage is None


def test_log_probabilities_of_each_token() -> None:
    steps = complete_recording("logprobs")["choices"][0]["logprobs"]["content"]
    assert [(step["token"], step["logprob"]) for step in steps] == [("Yes", -0.25), (".", -0.125)]
    assert [top["token"] for top in steps[0]["top_logprobs"]] == ["Yes", "x"]


def read(*candidates: WireCandidate) -> CandidateReader:
    reader = CandidateReader("id", 0, NAMES)
    for candidate in candidates:
        reader.take(candidate)
    return reader


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("FINISH_REASON_UNSPECIFIED", "stop"),
        (None, "stop"),
        ("CONTINUATION", "length"),
        ("RECITATION", "content_filter"),
        ("A_REASON_OF_TOMORROW", "content_filter"),
    ],
)
def test_the_finish_reason_of_each_of_geminis(reason: str | None, expected: str) -> None:
    assert read(WireCandidate(finish_reason=reason)).finish_reason == expected


def test_a_refusal_has_googles_message_if_there_is_one() -> None:
    reader = read(WireCandidate(finish_reason="SAFETY", finish_message="Too dangerous."))
    assert reader.refusal == "Too dangerous."
    assert read(WireCandidate(finish_reason="MAX_TOKENS", finish_message="Too long.")).refusal is None


def test_a_blocked_prompt_has_googles_message_if_there_is_one() -> None:
    reader = CandidateReader("id", 0, NAMES)
    reader.block(WirePromptFeedback(block_reason="OTHER", block_reason_message="Not this."))
    assert (reader.finish_reason, reader.refusal) == ("content_filter", "Not this.")


def test_media_in_an_answer_is_a_fault() -> None:
    image = WirePart(inline_data={"data": msgspec.Raw(b'"eA=="')})
    fault = read(WireCandidate(content=WireContent(parts=[image]))).fault
    assert fault is not None
    assert read(WireCandidate(content=WireContent(parts=[WirePart(text="")]))).fault is None


def test_a_call_with_null_arguments_has_empty_ones() -> None:
    call = WirePart(function_call=WireFunctionCall(name="f", args=msgspec.Raw(b"null")))
    delta = CandidateReader("id", 2, NAMES).take(WireCandidate(content=WireContent(parts=[call])))
    assert delta.tool_calls is not None
    assert delta.tool_calls[0].function.arguments == "{}"
    assert delta.tool_calls[0].id == "call_id_2_0"


def test_log_probabilities_without_alternatives() -> None:
    assert logprobs(None) is None
    assert logprobs(WireLogprobs(chosen_candidates=[])) is None
    found = logprobs(WireLogprobs(chosen_candidates=[WireToken("Yes", -0.5)]))
    assert found is not None
    assert found["content"] == [{"token": "Yes", "logprob": -0.5, "bytes": None, "top_logprobs": []}]


def test_more_cached_tokens_than_the_prompt_has_are_capped() -> None:
    usage = usage_from_wire(
        WireUsage(prompt_token_count=5, cached_content_token_count=9, candidates_token_count=1)
    )
    assert usage is not None
    assert usage.cached_tokens == 5


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"candidatesTokenCount": 25}, StatedUsage(None, 25)),
        ({"promptTokenCount": 9}, StatedUsage(9)),
        # Google's JSON leaves out zeros.
        ({"promptTokenCount": 9, "totalTokenCount": 9}, StatedUsage(9, 0, 9)),
        ({"promptTokenCount": -1, "candidatesTokenCount": 4}, StatedUsage(None, 4)),
        ({"promptTokenCount": 2**50, "candidatesTokenCount": 4}, StatedUsage(None, 4)),
        ({"promptTokenCount": "5", "candidatesTokenCount": 4.0}, Usage(5, 4, 9)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 4, "cachedContentTokenCount": []}, Usage(5, 4, 9)),
        # Thoughts are no answer, unless the total says so.
        ({"promptTokenCount": 5, "thoughtsTokenCount": 3}, StatedUsage(5, None, None, 0, 3)),
        (
            {"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 8},
            Usage(5, 3, 8, reasoning_tokens=3),
        ),
        ([], None),
        ("none", None),
    ],
)
def test_each_count_is_judged_by_itself(counts: Any, expected: Usage | StatedUsage | None) -> None:
    reply = json.loads(unary("text")) | {"usageMetadata": counts}
    assert complete(read_reply(json.dumps(reply).encode()), request()).usage == expected
