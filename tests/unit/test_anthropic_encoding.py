"""What becomes of each of OpenAI's fields on the way to Anthropic: carried, refused, or left out and named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.catalog import ClientCredentials, Provider
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.core.snapshot import ServingProvider
from llm_gateway.providers.anthropic.adapter import ANTHROPIC, AnthropicAdapter
from llm_gateway.providers.anthropic.models import traits_of
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.registry import ADAPTERS, KINDS
from tests.fakes.anthropic_wire import SECRET, chat, deployment, request_faults

ADAPTER = AnthropicAdapter()
USER = {"role": "user", "content": "Hi"}
NEW, OLD = "2026-10-21", "2023-06-01"
WEATHER = {"type": "function", "function": {"name": "weather"}}


def encoded(
    model: str = "claude-opus-5", *, api_version: str | None = None, **fields: Any
) -> UpstreamRequest:
    body = {"model": "m", "messages": [USER]} | fields
    return ADAPTER.encode(chat(body), deployment(model, api_version=api_version), {})


def sent(model: str = "claude-opus-5", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encoded(model, **fields).body)
    assert request_faults(body) == []
    return body


def refused(model: str = "claude-opus-5", **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        encoded(model, **fields)
    return raised.value


def blocks(**message: Any) -> Any:
    return sent(messages=[USER, message] if message["role"] != "user" else [message])["messages"][-1][
        "content"
    ]


# --- where it goes, and as whom ---


def test_the_kind_is_there() -> None:
    assert isinstance(ADAPTERS["anthropic"], AnthropicAdapter)
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
    made = ADAPTER.models_request(ServingProvider(account, ANTHROPIC))
    assert (made.method, made.url) == ("GET", "https://api.anthropic.com/v1/models?limit=1000")
    assert made.headers["x-api-key"] == SECRET
    assert made.headers["anthropic-version"] == NEW


# --- messages ---


def test_system_prompts_come_together_wherever_they_stood() -> None:
    told = sent(
        messages=[
            {"role": "system", "content": "One."},
            USER,
            {"role": "assistant", "content": "Hello"},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "And?"},
        ]
    )
    assert told["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert [turn["role"] for turn in told["messages"]] == ["user", "assistant", "user"]


def test_neighbours_of_one_role_become_one_turn() -> None:
    told = sent(messages=[USER, {"role": "user", "content": "there"}])
    assert told["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]}
    ]


def test_results_stand_before_words_in_their_turn() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    told = sent(
        messages=[
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "user", "content": "Quick!"},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ]
    )
    assert told["messages"][1]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
    ]
    assert told["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1"},
        {"type": "text", "text": "Quick!"},
    ]


def test_arguments_keep_every_digit() -> None:
    arguments = '{"n": 12345678901234567890123, "x": 0.10000000000000000001}'
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    made = encoded(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert b"12345678901234567890123" in made.body
    assert b"0.10000000000000000001" in made.body


@pytest.mark.parametrize("arguments", ["[1]", "{", '"x"', "{} {}"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    fault = refused(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert fault.param == "messages[1].tool_calls[0].function.arguments"


def test_ids_of_other_providers_are_made_fit_and_stay_pairs() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        for name in ("functions.weather:0", "functions_weather:0", "call_1")
    ]
    told = sent(
        messages=[
            USER,
            {"role": "assistant", "tool_calls": calls},
            *({"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in calls),
        ]
    )
    asked = [block["id"] for block in told["messages"][1]["content"]]
    answered = [block["tool_use_id"] for block in told["messages"][2]["content"]]
    assert asked == answered
    assert len(set(asked)) == 3
    assert asked[2] == "call_1"
    assert all(name.replace("_", "").isalnum() for name in asked)


def test_a_result_of_no_call_is_refused() -> None:
    assert refused(messages=[USER, {"role": "tool", "content": "x"}]).param == "messages[1].tool_call_id"


def test_blank_texts_are_not_sent_and_a_prefill_has_no_white_space_at_its_end() -> None:
    told = sent(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": " \n"}, {"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "The answer is: \n"},
        ]
    )
    assert told["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert told["messages"][1]["content"] == [{"type": "text", "text": "The answer is:"}]


@pytest.mark.parametrize(
    "messages", [[{"role": "system", "content": "Alone."}], [{"role": "user", "content": "  "}], []]
)
def test_there_has_to_be_something_to_answer(messages: list[Any]) -> None:
    assert refused(messages=messages).param == "messages"


def test_what_an_assistant_would_not_say_is_text() -> None:
    assert blocks(role="assistant", content=None, refusal="No.") == [{"type": "text", "text": "No."}]
    part = {"type": "refusal", "refusal": "No."}
    assert blocks(role="assistant", content=[part]) == [{"type": "text", "text": "No."}]


def test_names_and_signs_of_other_providers_are_left_out_and_said() -> None:
    call = {
        "id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "x"}},
    }  # fmt: skip
    made = encoded(
        messages=[
            {"role": "user", "name": "anna", "content": "Hi", "mood": "good"},
            {
                "role": "assistant", "tool_calls": [call], "reasoning_content": "Hm.", "annotations": [],
                "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "format": "other", "index": 0}],
            },
            {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "x"},
        ]
    )  # fmt: skip
    assert set(made.left_out) == {
        "messages[0].name", "messages[0].mood", "messages[1].tool_calls[0].extra_content",
        "messages[1].reasoning_details", "messages[1].reasoning_content",
    }  # fmt: skip


# --- parts ---


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, kind: fields}


def test_files_of_every_sort_that_there_is_a_block_for() -> None:
    text = part("file", file_data="data:text/plain;charset=utf-8;base64,R3LDvGV6aQ==", filename="a.txt")
    image = part("file", file_data="data:image/jpg;base64,/9j/")
    stored = part("file", file_id="file_011")
    assert blocks(role="user", content=[text, image, stored]) == [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüezi"},
         "title": "a.txt"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_011"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (part("image_url", url="data:image/bmp;base64,AA=="), "messages[0].content[0].image_url.url"),
        (part("image_url", url="ftp://example.com/a.png"), "messages[0].content[0].image_url.url"),
        (part("image_url", url="data:image/png,raw"), "messages[0].content[0].image_url.url"),
        (part("file", filename="a"), "messages[0].content[0].file"),
        (part("file", file_data="data:application/zip;base64,AA=="), "messages[0].content[0].file.file_data"),
        (part("file", file_data="data:text/plain;base64,/w=="), "messages[0].content[0].file.file_data"),
        (part("input_audio", data="AA==", format="wav"), "messages[0].content[0]"),
    ],
)
def test_parts_that_there_is_no_block_for_are_refused(content: dict[str, Any], param: str) -> None:
    fault = refused(messages=[{"role": "user", "content": [content]}])
    assert (fault.param, fault.code) == (param, "unsupported_by_provider")


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_images_stand_in_no_other_mouth(role: str) -> None:
    image = part("image_url", url="https://example.com/a.png")
    assert refused(messages=[USER, {"role": role, "content": [image]}]).param == "messages[1].content[0]"


def test_how_closely_to_look_is_left_out() -> None:
    image = part("image_url", url="https://example.com/a.png", detail="high")
    made = encoded(messages=[{"role": "user", "content": [image]}])
    assert made.left_out == ("messages[0].content[0].image_url.detail",)


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
    assert made.left_out == ("response_format",)
    assert "system" not in sent(response_format={"type": "text"})


def test_a_schema_and_an_effort_share_a_field() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "description": "d"}}
    made = encoded(response_format=wanted, reasoning_effort="low")
    assert json.loads(made.body)["output_config"] == {
        "effort": "low", "format": {"type": "json_schema", "schema": schema},
    }  # fmt: skip
    assert made.left_out == ("response_format.json_schema.description",)


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
    ("model", "asked", "carried", "left_out", "version"),
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
    model: str, asked: dict[str, Any], carried: dict[str, Any], left_out: tuple[str, ...], version: str
) -> None:
    made = encoded(model, **asked)
    body = json.loads(made.body)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == carried
    assert made.left_out == left_out
    assert made.headers["anthropic-version"] == version


def test_an_operator_may_pin_the_version() -> None:
    made = encoded("claude-opus-4-6", api_version=NEW, temperature=0.5)
    assert (made.headers["anthropic-version"], made.left_out) == (NEW, ("temperature",))
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
    assert set(made.left_out) == {"seed", "metadata", "store"}
    assert json.loads(made.body).keys() == {"model", "max_tokens", "messages"}


def test_who_asks_and_in_which_tier() -> None:
    assert sent(user="u1")["metadata"] == {"user_id": "u1"}
    made = encoded(user="u1", safety_identifier="s1", service_tier="flex")
    assert json.loads(made.body)["metadata"] == {"user_id": "s1"}
    assert made.left_out == ("user", "service_tier")
    assert sent(service_tier="default")["service_tier"] == "standard_only"
    assert "service_tier" not in sent(service_tier="auto")
    assert refused(user=7).param == "user"


def test_anthropics_own_fields_go_on_as_they_are() -> None:
    told = sent(thinking={"type": "disabled"}, cache_control={"type": "ephemeral"})
    assert told["thinking"] == {"type": "disabled"}
    assert told["cache_control"] == {"type": "ephemeral"}


# --- thinking ---

ADAPTIVE = {"type": "adaptive"}
OPENLY = {"type": "adaptive", "display": "summarized"}


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


@pytest.mark.parametrize(
    ("model", "level", "thinking", "effort", "is_whole"),
    [
        ("claude-opus-5", "minimal", OPENLY, "low", True),
        ("claude-opus-5", "xhigh", OPENLY, "xhigh", True),
        ("claude-opus-5", "max", OPENLY, "max", True),
        ("claude-opus-5", "none", {"type": "disabled"}, None, True),
        ("claude-opus-5-5", "none", None, "low", False),
        ("claude-mythos-preview", "high", ADAPTIVE, "high", True),
        ("claude-opus-4-6", "medium", ADAPTIVE, "medium", True),
        ("claude-opus-4-6", "xhigh", ADAPTIVE, "high", False),
        ("claude-opus-4-6", "none", None, None, True),
        ("claude-opus-4-5", "medium", budget(5_000), "medium", True),
        ("claude-opus-4-5", "max", budget(9_500), "high", False),
        ("claude-sonnet-4-5", "low", budget(2_000), None, True),
        ("claude-sonnet-4-5", "minimal", budget(1_024), None, True),
        ("claude-sonnet-4-5", "none", None, None, True),
        ("claude-3-5-haiku-20241022", "high", None, None, False),
        ("glm-5", "high", budget(8_000), None, True),
    ],
)
def test_efforts(
    model: str, level: str, thinking: dict[str, Any] | None, effort: str | None, *, is_whole: bool
) -> None:
    made = encoded(model, reasoning_effort=level, max_tokens=10_000)
    body = json.loads(made.body)
    assert request_faults(body) == []
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert made.left_out == (() if is_whole else ("reasoning_effort",))


def test_a_budget_needs_room_and_a_free_choice() -> None:
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", max_tokens=1000).left_out == (
        "reasoning_effort",
    )
    assert sent("claude-sonnet-4-5", reasoning_effort="high")["thinking"] == budget(32_000)
    forced = encoded("claude-sonnet-4-5", reasoning_effort="high", tools=[WEATHER], tool_choice="required")
    assert "thinking" not in json.loads(forced.body)
    assert forced.left_out == ("reasoning_effort",)
    forced = encoded(reasoning_effort="high", tools=[WEATHER], tool_choice="required")
    assert "thinking" not in json.loads(forced.body)
    assert forced.left_out == ()


def test_a_budget_leaves_no_room_for_sampling() -> None:
    made = encoded("claude-sonnet-4-5", reasoning_effort="high", temperature=0.2)
    assert made.left_out == ("temperature",)
    assert json.loads(made.body)["thinking"] == budget(32_000)


def test_a_budget_is_not_begun_among_calls_made_without_thinking() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    detail = {
        "type": "reasoning.text",
        "text": "t",
        "signature": "s",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    asked = {"role": "assistant", "content": "Let me look.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "x"}
    without = encoded("claude-sonnet-4-5", reasoning_effort="high", messages=[USER, asked, result])
    assert without.left_out == ("reasoning_effort",)
    thought = asked | {"reasoning_details": [detail]}
    twice = [USER, thought, result, asked, result]
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", messages=twice).left_out == ()
    over = [USER, asked, result, {"role": "assistant", "content": "Sun."}, USER]
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", messages=over).left_out == ()


def test_an_unknown_effort_is_refused() -> None:
    assert refused(reasoning_effort="enormous").param == "reasoning_effort"


def test_thinking_goes_back_to_its_place_even_if_the_text_was_cut() -> None:
    def detail(signature: str, **place: int) -> dict[str, Any]:
        return {
            "type": "reasoning.text", "text": "", "signature": signature, "format": "anthropic-claude-v1",
            "index": 0,
        } | place  # fmt: skip

    details = [detail("a"), detail("b", after_text=3), detail("c", after_text=99, after_calls=9)]
    assert blocks(role="assistant", content="Yes. No.", reasoning_details=details) == [
        {"type": "thinking", "thinking": "", "signature": "a"},
        {"type": "text", "text": "Yes"},
        {"type": "thinking", "thinking": "", "signature": "b"},
        {"type": "text", "text": ". No."},
        {"type": "thinking", "thinking": "", "signature": "c"},
    ]


def test_new_models_are_taken_for_new() -> None:
    assert traits_of("claude-atlas-7").thinking == "adaptive"
    assert traits_of("claude-haiku-5-5").efforts[-1] == "max"


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
