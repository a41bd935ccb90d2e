"""Sampling, structured output and reasoning effort become Gemini's `generationConfig`."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.gemini.encoding import write_body
from llm_gateway.providers.gemini.generation import carried, thinks_by_level
from tests.fakes.gemini_wire import encode_body, encoding_error, request


def test_sampling_and_limits() -> None:
    config = encode_body(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_tokens=9,
        max_completion_tokens=10,
        stop="END",
        seed=7,
        frequency_penalty=0.25,
        presence_penalty=-1,
        n=2,
        logprobs=True,
        top_logprobs=3,
    )["generationConfig"]
    assert config == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 10,
        "stopSequences": ["END"],
        "seed": 7,
        "frequencyPenalty": 0.25,
        "presencePenalty": -1,
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
    }


def test_fields_at_their_defaults_are_not_sent() -> None:
    assert encode_body(temperature=None, n=1, logprobs=False, stop=None, stream_options=None) == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}]
    }


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert encode_body(response_format=wanted)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert encode_body(response_format={"type": "json_object"})["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert "generationConfig" not in encode_body(response_format={"type": "text"})
    assert encoding_error(response_format={"type": "json_schema"}).param == "response_format.json_schema"


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-flash-latest", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-3-flash-preview", "none", {"thinkingBudget": 0}),
    ],
)
def test_reasoning_effort_is_a_level_or_a_budget(model: str, effort: str, config: dict[str, Any]) -> None:
    assert encode_body(model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"seed": "x"}, "seed"),
        ({"frequency_penalty": "much"}, "frequency_penalty"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 1.5}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
    ],
)
def test_an_invalid_value_is_rejected(fields: dict[str, Any], param: str) -> None:
    assert encoding_error(**fields).param == param


def test_a_wrong_type_has_the_code_of_one() -> None:
    assert encoding_error(seed="x").code == "invalid_type"


@pytest.mark.parametrize(
    ("model", "by_level"),
    [
        ("gemini-1.5-pro", False),
        ("gemini-2.0-flash", False),
        ("models/gemini-2.5-flash-lite", False),
        ("gemini-3-pro", True),
        ("gemini-20-flash", True),
        ("gemini-flash-latest", True),
        ("gemma-3", False),
        ("tunedModels/mine", False),
    ],
)
def test_gemini_3_and_later_think_by_level(model: str, by_level: bool) -> None:
    assert thinks_by_level(model) is by_level


def test_only_a_chat_carries_log_probabilities() -> None:
    assert set(carried(is_chat=True)) - set(carried(is_chat=False)) == {"logprobs", "top_logprobs"}


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_a_penalty_of_zero_is_not_sent(name: str) -> None:
    zeros: list[Any] = [0, 0.0, -0.0, None]
    for zero in zeros:
        assert "generationConfig" not in encode_body(**{name: zero})
    half: dict[str, Any] = {name: 0.5}
    written = encode_body(**half)["generationConfig"]
    assert list(written.values()) == [0.5]


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro"])
def test_the_highest_effort_is_geminis_highest_and_named(model: str) -> None:
    written = encode_body(model, reasoning_effort="max")
    assert written == encode_body(model, reasoning_effort="xhigh")
    assert write_body(request(reasoning_effort="max"), model)[1] == ("reasoning_effort",)


def test_a_seed_of_more_than_32_bits_is_ignored_and_named() -> None:
    for seed in (2**31, -(2**31) - 1, 2**63):
        assert "generationConfig" not in encode_body(seed=seed)
        assert write_body(request(seed=seed), "gemini-2.5-flash")[1] == ("seed",)
    assert encode_body(seed=2**31 - 1)["generationConfig"] == {"seed": 2**31 - 1}
