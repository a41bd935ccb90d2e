"""What agents may send, and what becomes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.surfaces.agents.requests import read_request

MESSAGES = [{"role": "user", "content": "hi"}]


def read(**fields: Any) -> Any:
    return read_request(msgspec.json.encode({"model": "m", "messages": MESSAGES} | fields))


def test_s2_9_a_request_becomes_a_chat_on_behalf_of_an_agent() -> None:
    request, attribution = read(
        max_tokens=100,
        temperature=0.7,
        metadata={"agent_id": "agent:sofia", "microdao_id": "microdao:7", "channel_id": "c"},
    )
    assert (request.endpoint, request.model, request.stream) == ("chat/completions", "m", False)
    assert {name: msgspec.json.decode(raw) for name, raw in request.fields.items()} == {
        "model": "m",
        "messages": MESSAGES,
        "max_tokens": 100,
        "temperature": 0.7,
    }
    assert (attribution.agent, attribution.tenant, attribution.channel) == ("agent:sofia", "microdao:7", "c")
    assert attribution.is_trusted


def test_values_stay_as_they_were_written() -> None:
    body = (
        b'{"model":"m","messages":[ {"role":"user","content":"h\\u00e9"} ],"temperature":1.0e0,"seed":null}'
    )
    request, _ = read_request(body)
    assert bytes(request.fields["messages"]) == b'[ {"role":"user","content":"h\\u00e9"} ]'
    assert bytes(request.fields["temperature"]) == b"1.0e0"
    assert "seed" not in request.fields


@pytest.mark.parametrize("metadata", [None, {}, {"agent_id": None}, {"agent_id": ""}])
def test_a_request_without_an_agent_is_nobodys(metadata: object) -> None:
    _, attribution = read(metadata=metadata)
    assert (attribution.agent, attribution.tenant, attribution.channel) == (None, None, None)


def test_a_stream_reports_its_usage_to_the_gateway() -> None:
    request, _ = read(stream=True)
    assert (request.stream, request.wants_usage) == (True, True)
    assert bytes(request.fields["stream_options"]) == b'{"include_usage":true}'


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}],
        [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "developer", "content": "be short"}, {"role": "tool", "tool_call_id": "c", "content": ""}],
        [{"role": "function", "name": "f", "content": "42"}],
    ],
)
def test_messages_may_be_all_that_openais_are(messages: list[dict[str, Any]]) -> None:
    assert msgspec.json.decode(read(messages=messages)[0].fields["messages"]) == messages


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system"}]}, "messages[1].content"),
        ({"user": "a\nb"}, "user"),
        ({"metadata": {"microdao_id": "\x00"}}, "metadata.microdao_id"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**fields)
    assert refused.value.param == param
