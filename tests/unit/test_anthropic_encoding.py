"""What becomes of each of OpenAI's fields on the way to Anthropic: carried, refused, or left out and named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.config.snapshot import EnabledProvider
from llm_gateway.core.secret import Secret
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.kind import ANTHROPIC
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.registry import ADAPTERS, KINDS
from tests.fakes.anthropic_requests import ADAPTER, USER, WEATHER, encoded, refused, sent
from tests.fakes.anthropic_wire import SECRET, chat, deployment

NEW, OLD = "2026-10-21", "2023-06-01"


# --- where it goes, and as whom ---


def test_the_kind_is_there() -> None:
    known = ADAPTERS["anthropic"]
    assert isinstance(known, OnFirstUse)
    assert isinstance(known.adapter, AnthropicAdapter)
    assert KINDS["anthropic"].default_api_base == "https://api.anthropic.com/v1"
    assert KINDS["anthropic"].endpoints == ("chat/completions", "completions")


def test_the_key_goes_into_its_own_header() -> None:
    made = ADAPTER.encode(chat({"messages": [USER]}), deployment("claude-opus-5"), {"x-request-id": "r1"})
    assert made.headers == {
        "user-agent": "llm-gateway",
        "accept-encoding": "identity",
        "anthropic-version": NEW,
        "x-api-key": SECRET,
        "content-type": "application/json",
        "accept": "application/json",
        "x-request-id": "r1",
    }
    streamed = ADAPTER.encode(chat({"messages": [USER], "stream": True}), deployment("claude-opus-5"), {})
    assert streamed.headers["accept"] == "text/event-stream"


def test_an_access_token_goes_as_a_bearer() -> None:
    grant = ClientCredentials(token_url="https://id.example/token", client_id="me")
    made = ADAPTER.encode(chat({"messages": [USER]}), deployment("claude-opus-5", oauth2=grant), {})
    assert made.headers["authorization"] == f"Bearer {SECRET}"
    assert "x-api-key" not in made.headers


def test_models_are_listed_with_the_same_headers() -> None:
    account = Provider(
        id=1, provider_key="a", provider_type="anthropic", api_base="https://api.anthropic.com",
        secret=Secret(SECRET),
    )  # fmt: skip
    made = ADAPTER.models_request(EnabledProvider(account, ANTHROPIC))
    assert (made.method, made.url) == ("GET", "https://api.anthropic.com/v1/models?limit=1000")
    assert made.headers["x-api-key"] == SECRET
    assert made.headers["anthropic-version"] == NEW


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


def test_a_choice_among_no_tools_is_not_sent() -> None:
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
            "input_schema": {"type": "object"} | schema,
        },
        {"name": "weather", "input_schema": {"type": "object", "properties": {}}},
    ]


def test_a_json_object_is_asked_for_in_words_and_that_is_said() -> None:
    made = encoded(
        response_format={"type": "json_object"}, messages=[{"role": "system", "content": "S"}, USER]
    )
    told = json.loads(made.body)
    assert [block["text"] for block in told["system"]] == ["S", told["system"][1]["text"]]
    assert "JSON object" in told["system"][1]["text"]
    assert made.ignored_fields == ("response_format",)
    assert "system" not in sent(response_format={"type": "text"})


def test_a_schema_and_an_effort_share_a_field() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "description": "d"}}
    made = encoded(response_format=wanted, reasoning_effort="low")
    assert json.loads(made.body)["output_config"] == {
        "effort": "low", "format": {"type": "json_schema", "schema": schema},
    }  # fmt: skip
    assert made.ignored_fields == ("response_format.json_schema.description",)


# --- limits, sampling, stops ---


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-fable-5-2", 128_000), ("claude-opus-5-5", 128_000), ("claude-sonnet-4-6", 128_000),
        ("claude-haiku-4-5-20251001", 64_000), ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-20250514", 32_000), ("anthropic.claude-sonnet-4-20250514-v1:0", 32_000),
        ("claude-3-7-sonnet-20250219", 32_000), ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-opus-20240229", 4_096), ("claude-of-tomorrow", 128_000), ("deepseek-chat", 8_192),
    ],
)  # fmt: skip
def test_a_limit_is_found_for_every_model(model: str, most: int) -> None:
    assert sent(model)["max_tokens"] == most
    assert sent(model, max_tokens=7)["max_tokens"] == 7
    assert sent(model, max_tokens=7, max_completion_tokens=9)["max_tokens"] == 9


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


def test_an_operator_may_pin_the_version() -> None:
    made = encoded("claude-opus-4-6", api_version=NEW, temperature=0.5)
    assert (made.headers["anthropic-version"], made.ignored_fields) == (NEW, ("temperature",))
    made = encoded("claude-opus-5", api_version=OLD)
    assert made.headers["anthropic-version"] == OLD


def test_stops_of_white_space_are_refused_and_empty_ones_ask_for_nothing() -> None:
    fault = refused(stop=["END", "\n\n"])
    assert (fault.param, fault.code) == ("stop", "unsupported_by_provider")
    assert "stop_sequences" not in sent(stop="")
    assert sent(stop="END")["stop_sequences"] == ["END"]


@pytest.mark.parametrize(
    "field", [{"n": 2}, {"logprobs": True}, {"frequency_penalty": 0.5}, {"functions": [{}]}]
)
def test_what_would_change_the_answer_is_refused(field: dict[str, Any]) -> None:
    fault = refused(**field)
    assert fault.status == 400
    assert (fault.param, fault.code) == (next(iter(field)), "unsupported_by_provider")


def test_what_would_not_is_left_out_and_said() -> None:
    made = encoded(seed=7, metadata={"a": "b"}, store=True, n=1, frequency_penalty=0, logprobs=False)
    assert set(made.ignored_fields) == {"seed", "metadata", "store"}
    assert json.loads(made.body).keys() == {"model", "max_tokens", "messages"}


def test_unknown_fields_are_found_wherever_they_stand() -> None:
    function = {"name": "f", "parameters": {"x-own": 1}, "mood": "good"}
    message = {"role": "user", "content": [{"type": "text", "text": "Hi", "tone": "warm", "empty": None}]}
    made = encoded(messages=[message], tools=[{"type": "function", "function": function}])
    assert set(made.ignored_fields) == {"messages[0].content[0].tone", "tools[0].function.mood"}
    assert json.loads(made.body)["tools"][0]["input_schema"]["x-own"] == 1


def test_who_asks_and_in_which_tier() -> None:
    assert sent(user="u1")["metadata"] == {"user_id": "u1"}
    made = encoded(user="u1", safety_identifier="s1", service_tier="flex")
    assert json.loads(made.body)["metadata"] == {"user_id": "s1"}
    assert made.ignored_fields == ("user", "service_tier")
    assert sent(service_tier="default")["service_tier"] == "standard_only"
    assert "service_tier" not in sent(service_tier="auto")
    assert refused(user=7).param == "user"


def test_anthropics_own_fields_go_on_as_they_are() -> None:
    told = sent(thinking={"type": "disabled"}, cache_control={"type": "ephemeral"})
    assert told["thinking"] == {"type": "disabled"}
    assert told["cache_control"] == {"type": "ephemeral"}


# --- the legacy endpoint ---


def test_a_prompt_is_one_users_turn() -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 16, "stop": "END", "best_of": 1, "echo": False}
    made = ADAPTER.encode(chat(body, endpoint="completions"), deployment("claude-opus-5"), {})
    assert json.loads(made.body) == {
        "model": "claude-opus-5",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Once upon a time"}]}],
        "stop_sequences": ["END"],
    }
