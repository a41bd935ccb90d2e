"""The recordings, and the fake that replays them, are what Google's own SDK takes them for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from tests.fakes.gemini_wire import (
    ANSWERS,
    BROKEN,
    ERRORS,
    KEY,
    FakeGemini,
    chunks,
    deployment,
    request,
    streamed,
    unary,
)


@pytest.fixture
def fake() -> Iterator[FakeGemini]:
    with FakeGemini().serving() as started:
        yield started


@pytest.fixture
def client(fake: FakeGemini) -> Iterator[genai.Client]:
    options = types.HttpOptions(
        base_url=fake.origin, api_version="v1beta", retry_options=types.HttpRetryOptions(attempts=1)
    )
    with genai.Client(api_key=KEY, http_options=options, vertexai=False) as made:
        yield made


@pytest.mark.parametrize("name", [*ANSWERS, *BROKEN])
def test_recordings_are_of_the_sdks_types(name: str) -> None:
    for reply in [json.loads(unary(name)), *chunks(streamed(name))]:
        read = types.GenerateContentResponse.model_validate(reply)
        assert read.model_version
        assert read.candidates or read.prompt_feedback
        # The SDK takes unknown enum values with a warning, which is an error here.


@pytest.mark.parametrize("name", ANSWERS)
def test_googles_client_reads_the_same_from_both_replies(
    name: str, client: genai.Client, fake: FakeGemini
) -> None:
    fake.recordings.extend([name, name])
    whole = client.models.generate_content(model="gemini-3-flash-preview", contents="hello")
    pieces = list(client.models.generate_content_stream(model="gemini-3-flash-preview", contents="hello"))
    assert _told([whole]) == _told(pieces)
    assert pieces[-1].usage_metadata == whole.usage_metadata
    assert [seen[1] for seen in fake.seen] == [
        "/v1beta/models/gemini-3-flash-preview:generateContent",
        "/v1beta/models/gemini-3-flash-preview:streamGenerateContent?alt=sse",
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_googles_client_reads_the_errors(name: str, client: genai.Client, fake: FakeGemini) -> None:
    fake.recordings.append(name)
    with pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model="gemini-3-flash-preview", contents="hello")
    told = json.loads(unary(name))["error"]
    assert (caught.value.code, caught.value.status) == (told["code"], told["status"])
    assert caught.value.message == told["message"]


@pytest.mark.parametrize("name", ["failing-event", "failing-bare"])
def test_googles_client_sees_a_stream_fail(name: str, client: genai.Client, fake: FakeGemini) -> None:
    fake.recordings.append(name)
    with pytest.raises(errors.APIError) as caught:
        list(client.models.generate_content_stream(model="gemini-3-flash-preview", contents="hello"))
    assert caught.value.code == 503


def test_googles_client_asks_as_the_adapter_does(client: genai.Client, fake: FakeGemini) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    call = types.FunctionCall(id="a", name="get_weather", args={"city": "Paris"})
    result = types.FunctionResponse(id="a", name="get_weather", response={"output": {"degrees": 21}})
    image = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    fake.recordings.append("text")
    client.models.generate_content(
        model="gemini-2.5-flash",
        contents=[
            types.Content(role="user", parts=[types.Part(text="Weather?"), image]),
            types.Content(role="model", parts=[types.Part(function_call=call)]),
            types.Content(role="user", parts=[types.Part(function_response=result)]),
        ],
        config=types.GenerateContentConfig(
            system_instruction=types.Content(parts=[types.Part(text="Be brief.")]),
            tools=[
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(
                            name="get_weather", description="d", parameters_json_schema=schema
                        )
                    ]
                )
            ],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_weather"]
                )
            ),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            temperature=0.5,
            max_output_tokens=9,
            stop_sequences=["END"],
            seed=7,
            response_mime_type="application/json",
            response_json_schema=schema,
            thinking_config=types.ThinkingConfig(thinking_budget=1024, include_thoughts=True),
        ),
    )
    function = {"name": "get_weather", "description": "d", "parameters": schema}
    arguments = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    asked = request(
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                ],
            },
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": arguments}]},
            {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 21}'},
        ],
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0.5,
        max_completion_tokens=9,
        stop=["END"],
        seed=7,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        reasoning_effort="low",
    )
    sent = GeminiAdapter(GEMINI).encode(asked, deployment("gemini-2.5-flash"), {})
    assert json.loads(sent.body) == _in_camel_case(fake.seen[-1][3])
    assert sent.url.endswith(fake.seen[-1][1])


def test_googles_client_lists_the_models(client: genai.Client) -> None:
    listed = [model.name for model in client.models.list()]
    assert listed == ["models/embedding-001", "models/gemini-2.5-flash", "models/gemini-3-flash-preview"]


def test_the_fake_refuses_what_google_would(client: genai.Client, fake: FakeGemini) -> None:
    with pytest.raises(errors.ClientError, match="needs parts"):
        client.models.generate_content(model="gemini-3-flash-preview", contents=types.Content(role="user"))


def _in_camel_case(value: Any) -> Any:
    """Return JSON with its names in one of the two spellings that Google takes; the SDK mixes them."""
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub("_([a-z])", lambda found: found[1].upper(), name): _in_camel_case(each)
        for name, each in value.items()
    }


def _told(replies: list[types.GenerateContentResponse]) -> dict[str, object]:
    """Return what the SDK read, candidate by candidate: texts, thoughts, calls, signatures and the last reason."""
    told: dict[str, object] = {"blocked": replies[0].prompt_feedback}
    for reply in replies:
        for candidate in reply.candidates or ():
            key = f"{candidate.index}"
            if candidate.finish_reason is not None:
                told[f"{key} end"] = candidate.finish_reason
            for part in (candidate.content.parts or ()) if candidate.content is not None else ():
                kind = "thought" if part.thought else "text"
                told[f"{key} {kind}"] = str(told.get(f"{key} {kind}", "")) + (part.text or "")
                if part.function_call is not None:
                    calls = told.setdefault(f"{key} calls", [])
                    assert isinstance(calls, list)
                    calls.append(part.function_call)
                if part.thought_signature is not None:
                    told[f"{key} signature"] = part.thought_signature
    return told
