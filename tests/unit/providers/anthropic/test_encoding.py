"""What becomes of each of OpenAI's request fields: sent, rejected, or ignored and reported."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.fakes.anthropic_requests import ADAPTER, USER, WEATHER, encoded, refused, sent
from tests.fakes.anthropic_wire import chat, deployment

NEW, OLD = "2026-10-21", "2023-06-01"


# --- tools and formats ---


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "required", "parallel_tool_calls": False},
         {"type": "any", "disable_parallel_tool_use": True}),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}},
         {"type": "tool", "name": "weather"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
    ],
)  # fmt: skip
def test_tool_choices(asked: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    assert sent(tools=[WEATHER], **asked).get("tool_choice") == wanted


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in sent(tool_choice="auto", parallel_tool_calls=False)


def test_tools_keep_their_schema_and_strictness() -> None:
    schema = {"properties": {"b": {"type": "string"}, "a": {}}, "$defs": {"x": {}}}
    function = {"name": "weather", "description": "Tells.", "parameters": schema, "strict": True}
    told = sent(tools=[{"type": "function", "function": function}, WEATHER])
    assert told["tools"] == [
        {
            "name": "weather",
            "description": "Tells.",
            "strict": True,
            "input_schema": {"type": "object", "additionalProperties": False} | schema,
        },
        {"name": "weather", "input_schema": {"type": "object", "properties": {}}},
    ]


def test_tools_keep_their_cache_control() -> None:
    mark = {"type": "ephemeral"}
    (tool,) = sent(tools=[{**WEATHER, "cache_control": mark}])["tools"]
    assert tool["cache_control"] == mark


def test_json_without_a_schema_is_a_system_prompt_and_reported() -> None:
    made = encoded(
        response_format={"type": "json_object"}, messages=[{"role": "system", "content": "S"}, USER]
    )
    told = json.loads(made.body)
    assert [block["text"] for block in told["system"]] == ["S", told["system"][1]["text"]]
    assert "JSON object" in told["system"][1]["text"]
    assert made.ignored_fields == ("response_format",)
    assert "system" not in sent(response_format={"type": "text"})


def test_a_json_schema_format_without_a_schema_counts_as_none() -> None:
    made = encoded(response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    assert "JSON object" in json.loads(made.body)["system"][0]["text"]
    assert made.ignored_fields == ("response_format",)


def test_a_schema_and_an_effort_are_both_in_output_config() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "description": "d"}}
    made = encoded(response_format=wanted, reasoning_effort="low")
    assert json.loads(made.body)["output_config"] == {
        "effort": "low", "format": {"type": "json_schema", "schema": schema},
    }  # fmt: skip
    assert made.ignored_fields == ("response_format.json_schema.description",)


# --- limits, sampling, stops ---


def test_the_limit_is_the_clients_or_the_models() -> None:
    assert sent()["max_tokens"] == 128_000
    assert sent(max_tokens=7)["max_tokens"] == 7
    assert sent(max_tokens=7, max_completion_tokens=9)["max_tokens"] == 9


@pytest.mark.parametrize(
    ("model", "asked", "carried", "ignored_fields", "version"),
    [
        ("claude-opus-4-6", {"temperature": 0.5}, {"temperature": 0.5}, (), OLD),
        ("claude-opus-4-6", {"temperature": 0}, {"temperature": 0.0}, (), OLD),
        ("claude-opus-4-6", {"temperature": 1.5}, {}, ("temperature",), NEW),
        ("claude-opus-4-6", {"temperature": 1, "top_p": 1.0}, {}, (), NEW),
        ("claude-opus-4-6", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ("top_p",), OLD),
        ("claude-3-haiku-20240307", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, (), OLD),
        ("claude-opus-4-6", {"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, (), OLD),
        ("claude-opus-4-7", {"temperature": 0.5, "top_p": 0.9}, {}, ("temperature", "top_p"), NEW),
        ("claude-opus-5-5", {"temperature": 0.5}, {}, ("temperature",), NEW),
        ("claude-opus-5-5", {"temperature": 1}, {}, (), NEW),
        ("minimax-m2", {"temperature": 0.5}, {"temperature": 0.5}, (), OLD),
        ("minimax-m2", {}, {}, (), OLD),
    ],
)  # fmt: skip
def test_sampling(
    model: str, asked: dict[str, Any], carried: dict[str, Any], ignored_fields: tuple[str, ...], version: str
) -> None:
    made = encoded(model, **asked)
    body = json.loads(made.body)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == carried
    assert made.ignored_fields == ignored_fields
    assert made.headers["anthropic-version"] == version


def test_a_pinned_version_is_used_with_what_it_supports() -> None:
    made = encoded("claude-opus-4-6", api_version=NEW, temperature=0.5)
    assert (made.headers["anthropic-version"], made.ignored_fields) == (NEW, ("temperature",))
    made = encoded("claude-opus-5", api_version=OLD)
    assert made.headers["anthropic-version"] == OLD


def test_white_space_stops_are_rejected_and_empty_ones_dropped() -> None:
    fault = refused(stop=["END", "\n\n"])
    assert (fault.param, fault.code) == ("stop", "unsupported_by_provider")
    assert "stop_sequences" not in sent(stop="")
    assert sent(stop="END")["stop_sequences"] == ["END"]


# --- other fields ---


@pytest.mark.parametrize(
    "field", [{"n": 2}, {"logprobs": True}, {"frequency_penalty": 0.5}, {"functions": [{}]}]
)
def test_fields_that_change_the_answer_are_rejected(field: dict[str, Any]) -> None:
    fault = refused(**field)
    assert fault.status == 400
    assert (fault.param, fault.code) == (next(iter(field)), "unsupported_by_provider")


def test_other_fields_are_ignored_and_reported() -> None:
    made = encoded(seed=7, metadata={"a": "b"}, store=True, n=1, frequency_penalty=0, logprobs=False)
    assert set(made.ignored_fields) == {"seed", "metadata", "store"}
    assert json.loads(made.body).keys() == {"model", "max_tokens", "messages"}


def test_unknown_nested_fields_are_reported_by_their_path() -> None:
    function = {"name": "f", "parameters": {"x-own": 1}, "mood": "good"}
    message = {"role": "user", "content": [{"type": "text", "text": "Hi", "tone": "warm", "empty": None}]}
    made = encoded(messages=[message], tools=[{"type": "function", "function": function}])
    assert set(made.ignored_fields) == {"messages[0].content[0].tone", "tools[0].function.mood"}
    assert json.loads(made.body)["tools"][0]["input_schema"]["x-own"] == 1


def test_user_and_service_tier() -> None:
    assert sent(user="u1")["metadata"] == {"user_id": "u1"}
    made = encoded(user="u1", safety_identifier="s1", service_tier="flex")
    assert json.loads(made.body)["metadata"] == {"user_id": "s1"}
    assert made.ignored_fields == ("user", "service_tier")
    assert sent(service_tier="default")["service_tier"] == "standard_only"
    assert "service_tier" not in sent(service_tier="auto")
    assert refused(user=7).param == "user"


def test_two_equal_user_ids_are_one() -> None:
    made = encoded(user="u1", safety_identifier="u1")
    assert json.loads(made.body)["metadata"] == {"user_id": "u1"}
    assert made.ignored_fields == ()


def test_anthropics_own_fields_are_forwarded_unchanged() -> None:
    told = sent(thinking={"type": "disabled"}, cache_control={"type": "ephemeral"})
    assert told["thinking"] == {"type": "disabled"}
    assert told["cache_control"] == {"type": "ephemeral"}


# --- the legacy endpoint ---


def test_a_prompt_becomes_one_user_turn() -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 16, "stop": "END", "best_of": 1, "echo": False}
    made = ADAPTER.encode(chat(body, endpoint="completions"), deployment("claude-opus-5"), {})
    assert json.loads(made.body) == {
        "model": "claude-opus-5",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Once upon a time"}]}],
        "stop_sequences": ["END"],
    }


@pytest.mark.parametrize(
    "given",
    [
        "jane@example.com",
        "Jane <jane@example.com>",
        "+49 170 1234567",
        "(555) 123-4567",
        "tel:+15551234567",
        "x" * 300,
    ],
)
@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_a_user_id_that_anthropic_rejects_is_sent_as_its_hash_and_named(name: str, given: str) -> None:
    body = sent(**{name: given})
    assert body["metadata"] == {"user_id": hashlib.sha256(given.encode()).hexdigest()}
    assert encoded(**{name: given}).ignored_fields == (name,)


@pytest.mark.parametrize("given", ["user-1", "d9428888-122b-11e1-b85c-61cd3cbb3210", "u" * 256, "42"])
def test_an_opaque_user_id_is_unchanged(given: str) -> None:
    assert sent(user=given)["metadata"] == {"user_id": given}
    assert encoded(user=given).ignored_fields == ()


@pytest.mark.parametrize(
    "name", ["prompt_cache_options", "prompt_cache_key", "prompt_cache_retention", "verbosity", "prediction"]
)
def test_hints_of_openais_are_ignored(name: str) -> None:
    fields: dict[str, Any] = {name: {"mode": "explicit"}}
    assert encoded(**fields).ignored_fields == (name,)
