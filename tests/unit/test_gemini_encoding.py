"""What a client's request becomes on its way to Gemini, held against the types of Google's SDK."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.config.snapshot import EnabledProvider
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.gemini_wire import KEY, check_request, deployment, request

ADAPTER = GeminiAdapter(GEMINI)
PIXEL = "iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "$defs": {"a": True}},
    },
}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "a",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris", "exact": 1.0}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
        {"id": "b", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 21.50}'},
    {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "noon"}]},
]


def encode(model: str = "gemini-2.5-flash", **fields: Any) -> UpstreamRequest:
    return ADAPTER.encode(request(**fields), deployment(model), {"x-request-id": "1"})


def body(model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(encode(model, **fields).body)
    check_request(written)
    return written


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def refused(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        encode(**fields)
    return caught.value


def test_it_is_a_kind() -> None:
    known = ADAPTERS["gemini"]
    assert isinstance(known, OnFirstUse)
    assert isinstance(known.adapter, GeminiAdapter)
    assert GEMINI.default_api_base == "https://generativelanguage.googleapis.com/v1beta"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("../secrets?x", "models/..%2Fsecrets%3Fx"),
        ("gemini:countTokens", "models/gemini%3AcountTokens"),
    ],
)
def test_the_model_is_in_the_path_and_the_key_in_a_header(model: str, path: str) -> None:
    sent = encode(model)
    assert sent.url == f"https://generativelanguage.googleapis.com/v1beta/{path}:generateContent"
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers
    assert KEY.encode() not in sent.body
    assert sent.headers["x-request-id"] == "1"


def test_a_stream_is_asked_for_by_another_method() -> None:
    sent = encode(stream=True)
    assert sent.url.endswith("/models/gemini-2.5-flash:streamGenerateContent?alt=sse")
    assert sent.headers["accept"] == "text/event-stream"


def test_a_path_that_leads_elsewhere_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        encode("models/../files")
    assert caught.value.param == "model"


def test_a_token_is_shown_as_a_bearer() -> None:
    grant = ClientCredentials(token_url="https://id.example/token", client_id="me")
    sent = ADAPTER.encode(request(), deployment(oauth2=grant), {})
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in sent.headers


def test_the_list_of_models_is_asked_for() -> None:
    provider = Provider(
        id=1,
        provider_key="google",
        provider_type="gemini",
        api_base="https://generativelanguage.googleapis.com",
        secret=Secret(KEY),
    )
    asked = ADAPTER.models_request(EnabledProvider(provider, GEMINI))
    assert asked.method == "GET"
    assert asked.url == "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000"
    assert asked.headers["x-goog-api-key"] == KEY


def test_a_conversation_keeps_its_order_and_the_systems_words_stand_apart() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "A greeting."},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
    ]
    assert body(messages=messages) == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}]},
            {"role": "model", "parts": [{"text": "A greeting.", "thought": True}, {"text": "Hi"}]},
            {"role": "user", "parts": [{"text": "Bye"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "In French."}]},
    }


def test_a_conversation_of_the_system_alone_is_refused() -> None:
    assert refused(messages=[{"role": "system", "content": "x"}]).param == "messages"


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://img.example/cat.PNG?x=1"}},
            {"fileData": {"fileUri": "https://img.example/cat.PNG?x=1", "mimeType": "image/png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://img.example/cat"}},
            {"fileData": {"fileUri": "https://img.example/cat"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": PIXEL}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}"}},
            {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}},
        ),
        (
            {
                "type": "file",
                "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"},
            },
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ),
    ],
)
def test_media_go_along_or_are_named(part: dict[str, Any], written: dict[str, Any]) -> None:
    assert body(messages=user({"type": "text", "text": "Look"}, part))["contents"] == [
        {"role": "user", "parts": [{"text": "Look"}, written]}
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (
            {"type": "image_url", "image_url": {"url": "http://img.example/cat"}},
            "messages[0].content[0].image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "file-abc"}}, "messages[0].content[0].file.file_id"),
        ({"type": "file", "file": {"file_data": "JVBERi0="}}, "messages[0].content[0].file.file_data"),
        ({"type": "file", "file": {}}, "messages[0].content[0].file"),
    ],
)
def test_media_that_google_cannot_get_are_refused(part: dict[str, Any], param: str) -> None:
    assert refused(messages=user(part)).param == param


def test_what_has_no_word_beside_the_content_is_said_to_be_left_out() -> None:
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
    sent = encode(messages=messages, user="u-1", service_tier="flex", metadata={"a": "b"})
    assert set(sent.ignored_fields) == {
        "user",
        "service_tier",
        "metadata",
        "messages[0].name",
        "messages[0].content[0].cache_control",
        "messages[0].content[1].image_url.detail",
        "messages[0].content[2].file.filename",
    }


def test_tools_are_declared_with_their_schemas_as_they_are() -> None:
    assert body(tools=[WEATHER])["tools"] == [
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
    assert body(tools=[WEATHER], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}


def test_strict_functions_are_validated() -> None:
    strict = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
    assert body(tools=[strict])["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert "toolConfig" not in body(tools=[WEATHER])


def test_one_call_at_a_time_cannot_be_had() -> None:
    error = refused(tools=[WEATHER], parallel_tool_calls=False)
    assert (error.code, error.param) == ("unsupported_by_provider", "parallel_tool_calls")
    assert body(tools=[WEATHER], parallel_tool_calls=True)["tools"]


def test_calls_and_results_find_each_other_by_id_and_name() -> None:
    messages = [*user({"type": "text", "text": "?"}), CALLED, *RESULTS, {"role": "user", "content": "So?"}]
    assert body(messages=messages)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {
                        "id": "a",
                        "name": "get_weather",
                        "args": {"city": "Paris", "exact": 1.0},
                    },
                    "thoughtSignature": "c2ln",
                },
                {"functionCall": {"id": "b", "name": "get_time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "a",
                        "name": "get_weather",
                        "response": {"output": {"degrees": 21.5}},
                    }
                },
                {"functionResponse": {"id": "b", "name": "get_time", "response": {"output": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "So?"}]},
    ]


def test_a_result_may_hold_a_picture() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    result = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "Here"}, picture]}
    messages = [*user({"type": "text", "text": "?"}), CALLED, result]
    assert body(messages=messages)["contents"][2]["parts"][0]["functionResponse"] == {
        "id": "a",
        "name": "get_weather",
        "response": {"output": "Here"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
    }


@pytest.mark.parametrize("call_id", ["c", None])
def test_a_result_without_its_call_is_refused(call_id: str | None) -> None:
    messages = [
        *user({"type": "text", "text": "?"}),
        {"role": "tool", "tool_call_id": call_id, "content": "x"},
    ]
    assert refused(messages=messages).param == "messages[1].tool_call_id"


def test_arguments_that_are_no_object_are_refused() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    messages = [*user({"type": "text", "text": "?"}), {"role": "assistant", "tool_calls": [call]}]
    assert refused(messages=messages).param == "messages[1].tool_calls[0].function.arguments"


def test_signatures_go_back_where_they_came_from() -> None:
    said = {
        "role": "assistant",
        "content": "Hi",
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    silent = {"role": "assistant", "content": "", "extra_content": {"google": {"thought_signature": "eA=="}}}
    messages = [*user({"type": "text", "text": "?"}), said, silent]
    assert [content["parts"] for content in body(messages=messages)["contents"][1:]] == [
        [{"text": "Hi", "thoughtSignature": "c2ln"}],
        [{"text": "", "thoughtSignature": "eA=="}],
    ]


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-2.5-flash", None),
        ("models/gemini-3-flash-preview", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("gemma-4", None),
    ],
)
def test_calls_of_another_model_are_marked_as_such_where_it_is_needed(
    model: str, signature: str | None
) -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ("a", "b")
    ]
    messages = [*user({"type": "text", "text": "?"}), {"role": "assistant", "tool_calls": calls}]
    parts = body(model, messages=messages)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def test_sampling_and_limits() -> None:
    config = body(
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


def test_what_was_not_said_is_not_sent() -> None:
    assert body(temperature=None, n=1, logprobs=False, stop=None, stream_options=None) == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}]
    }


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert body(response_format=wanted)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert body(response_format={"type": "json_object"})["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert "generationConfig" not in body(response_format={"type": "text"})
    assert refused(response_format={"type": "json_schema"}).param == "response_format.json_schema"
    described = {"type": "json_schema", "json_schema": {"name": "x", "description": "y", "schema": schema}}
    assert encode(response_format=described).ignored_fields == ("response_format.json_schema.description",)


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
    assert body(model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": config}


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
def test_what_would_be_lost_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.status, error.code, error.param) == (400, "unsupported_by_provider", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"seed": "x"}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize("value", [b"1e400", b"[" * 3000 + b"]" * 3000])
def test_a_schema_that_cannot_be_read_is_refused(value: bytes) -> None:
    given = request(tools=[WEATHER])
    given.fields["tools"] = msgspec.Raw(
        b'[{"type":"function","function":{"name":"f","parameters":{"x":' + value + b"}}}]"
    )
    with pytest.raises(BadRequest) as caught:
        ADAPTER.encode(given, deployment(), {})
    assert str(caught.value.param).startswith("tools")


def test_a_legacy_prompt_is_a_users_message() -> None:
    assert body(endpoint="completions", prompt="Once", max_tokens=5, seed=1) == {
        "contents": [{"role": "user", "parts": [{"text": "Once"}]}],
        "generationConfig": {"maxOutputTokens": 5, "seed": 1},
    }


def test_what_is_in_a_schema_goes_byte_for_byte() -> None:
    given = request(tools=[WEATHER])
    raw = b'"properties":{"n": {"type": "number",  "maximum": 1.50e2}}'
    tool = b'[{"type":"function","function":{"name":"f","parameters":{' + raw + b"}}}]"
    given.fields["tools"] = msgspec.Raw(tool)
    assert raw in ADAPTER.encode(given, deployment(), {}).body
