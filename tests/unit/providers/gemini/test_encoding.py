"""The body of a generateContent request, and the fields that it rejects or ignores."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.gemini.encoding import write_body
from tests.fakes.gemini_wire import encode_body, encoding_error, request

PIXEL = "iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "$defs": {"a": True}},
    },
}


def test_fields_without_a_counterpart_are_reported_as_ignored() -> None:
    messages = [
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                },
                {"type": "file", "file": {"file_data": "data:text/plain;base64,eA==", "filename": "x.txt"}},
            ],
        }
    ]
    asked = request(messages=messages, user="u-1", service_tier="flex", metadata={"a": "b"})
    _, ignored_fields = write_body(asked, "gemini-2.5-flash")
    assert set(ignored_fields) == {
        "user",
        "service_tier",
        "metadata",
        "messages[0].name",
        "messages[0].content[0].cache_control",
        "messages[0].content[1].image_url.detail",
        "messages[0].content[2].file.filename",
    }


def test_tools_are_declared_with_unchanged_schemas() -> None:
    assert encode_body(tools=[WEATHER])["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": "The weather",
                    "parametersJsonSchema": WEATHER["function"]["parameters"],  # type: ignore[index]
                }
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("none", {"mode": "NONE"}),
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
        ),
    ],
)
def test_a_tool_choice_is_a_calling_mode(choice: Any, config: dict[str, Any]) -> None:
    assert encode_body(tools=[WEATHER], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}


def test_strict_functions_are_validated() -> None:
    strict = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
    assert encode_body(tools=[strict])["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert "toolConfig" not in encode_body(tools=[WEATHER])


def test_turning_parallel_calls_off_is_rejected() -> None:
    error = encoding_error(tools=[WEATHER], parallel_tool_calls=False)
    assert (error.code, error.param) == ("unsupported_by_provider", "parallel_tool_calls")
    assert encode_body(tools=[WEATHER], parallel_tool_calls=True)["tools"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"endpoint": "completions", "logprobs": 2}, "logprobs"),
        ({"endpoint": "completions", "tools": [WEATHER]}, "tools"),
        ({"endpoint": "completions", "echo": True}, "echo"),
        ({"endpoint": "completions", "prompt": ["a", "b"]}, "prompt"),
    ],
)
def test_unsupported_fields_are_rejected(fields: dict[str, Any], param: str) -> None:
    error = encoding_error(**fields)
    assert (error.status, error.code, error.param) == (400, "unsupported_by_provider", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ],
)
def test_an_invalid_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert encoding_error(**fields).param == param


@pytest.mark.parametrize("value", [b"1e", b"[" * 3000 + b"]" * 3000])
def test_an_unreadable_schema_is_rejected(value: bytes) -> None:
    given = request(tools=[WEATHER])
    given.fields["tools"] = msgspec.Raw(
        b'[{"type":"function","function":{"name":"f","parameters":{"x":' + value + b"}}}]"
    )
    with pytest.raises(BadRequest) as caught:
        write_body(given, "gemini-2.5-flash")
    assert str(caught.value.param).startswith("tools")


def test_a_legacy_prompt_becomes_a_user_message() -> None:
    assert encode_body(endpoint="completions", prompt="Once", max_tokens=5, seed=1) == {
        "contents": [{"role": "user", "parts": [{"text": "Once"}]}],
        "generationConfig": {"maxOutputTokens": 5, "seed": 1},
    }


def test_a_schema_is_copied_byte_for_byte() -> None:
    given = request(tools=[WEATHER])
    raw = b'"properties":{"n": {"type": "number",  "maximum": 1.50e2}}'
    tool = b'[{"type":"function","function":{"name":"f","parameters":{' + raw + b"}}}]"
    given.fields["tools"] = msgspec.Raw(tool)
    assert raw in write_body(given, "gemini-2.5-flash")[0]


def test_ignored_fields_of_tools_and_of_the_response_format() -> None:
    function = {"name": "f", "parameters": {}}
    tools = [
        {"type": "function", "function": function},
        {"type": "function", "function": function, "cache_control": {"type": "ephemeral"}},
    ]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "description": "y", "schema": {}}}
    _, ignored_fields = write_body(request(tools=tools, response_format=wanted), "gemini-2.5-flash")
    assert ignored_fields == ("tools[1].cache_control", "response_format.json_schema.description")


def test_a_tool_without_a_description_or_parameters_declares_its_name_alone() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    assert encode_body(tools=tools)["tools"] == [{"functionDeclarations": [{"name": "now"}]}]


def test_an_explicit_tool_choice_overrides_strict() -> None:
    strict = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
    config = encode_body(tools=[strict], tool_choice="required")["toolConfig"]
    assert config == {"functionCallingConfig": {"mode": "ANY"}}
    config = encode_body(tools=[strict], tool_choice="auto")["toolConfig"]
    assert config == {"functionCallingConfig": {"mode": "VALIDATED"}}
