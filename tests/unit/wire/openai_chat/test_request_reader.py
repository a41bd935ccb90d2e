"""Requests as typed conversations: what is read, what is rejected and under which path, what is left over."""

from __future__ import annotations

import sys
import time
import tracemalloc
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.openai_chat.conversation import Conversation, Message, TextPart
from llm_gateway.wire.openai_chat.request_reader import read_conversation
from tests.fakes.openai_requests import encoded, model_request

USER = {"role": "user", "content": "Hi"}


def chat(**fields: Any) -> Conversation:
    return read_conversation(model_request(**{"model": "m", "messages": [USER], **fields}))


def legacy(**fields: Any) -> Conversation:
    return read_conversation(model_request("completions", **fields))


def rejected(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        chat(**fields)
    return raised.value


def test_a_plain_chat_has_only_its_messages() -> None:
    assert chat() == Conversation(messages=(Message(role="user", content="Hi"),))


def test_null_is_the_same_as_nothing() -> None:
    names = ("tools", "tool_choice", "response_format", "max_tokens", "temperature", "stop", "n", "seed")
    assert chat(**dict.fromkeys(names)) == chat()


def test_sampling_and_limits_are_read() -> None:
    found = chat(temperature=1, top_p=0.5, n=2, reasoning_effort="low", parallel_tool_calls=False)
    assert (found.temperature, found.top_p, found.n, found.reasoning_effort) == (1.0, 0.5, 2, "low")
    assert found.parallel_tool_calls is False


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
    ],
)
def test_max_completion_tokens_wins_over_max_tokens(fields: dict[str, Any], limit: int | None) -> None:
    assert chat(**fields).max_tokens == limit


@pytest.mark.parametrize(("stop", "expected"), [("x", ("x",)), (["x", "y"], ("x", "y")), ([], ())])
def test_stop_is_one_text_or_several(stop: Any, expected: tuple[str, ...]) -> None:
    assert chat(stop=stop).stop == expected


def test_other_top_level_fields_are_the_rest_with_their_bytes() -> None:
    request = model_request(messages=[USER], model="m", stream=True, seed=None)
    request.fields["logit_bias"] = msgspec.Raw(b'{"5": 1.0}')
    assert {name: bytes(raw) for name, raw in read_conversation(request).rest.items()} == {
        "logit_bias": b'{"5": 1.0}'
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": [USER, {"role": "robot"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, None),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tool_choice": {"type": "function", "function": {"name": 5}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"stop": 5}, "stop"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
    ],
)
def test_a_wrong_type_is_named_by_its_path(fields: dict[str, Any], param: str | None) -> None:
    error = rejected(**fields)
    assert error.code == "invalid_type"
    assert error.param is not None
    assert error.param == param or (param is None and error.param.startswith("messages[0].content"))
    assert f"'{error.param}'" in str(error)
    assert "$" not in str(error)


def test_a_field_that_cannot_be_decoded_is_rejected() -> None:
    request = model_request(messages=[USER])
    request.fields["stop"] = msgspec.Raw(b'"\xff"')
    with pytest.raises(BadRequest) as raised:
        read_conversation(request)
    assert (raised.value.param, raised.value.code) == ("stop", "invalid_type")
    assert "it cannot be read" in str(raised.value)


@pytest.mark.parametrize("messages", [[], None])
def test_a_chat_needs_a_message(messages: Any) -> None:
    assert rejected(messages=messages).param == "messages"


def test_a_legacy_prompt_is_one_user_message() -> None:
    message = Message(role="user", content="Hi")
    assert legacy(prompt="Hi", max_tokens=5) == Conversation(messages=(message,), max_tokens=5)
    assert legacy(prompt=["Hi"]).messages == (message,)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("", "invalid_request"),
        (None, "invalid_request"),
        ([], "unsupported_by_provider"),
        (["a", "b"], "unsupported_by_provider"),
        ([1, 2], "invalid_type"),
    ],
)
def test_a_legacy_prompt_must_be_one_text(prompt: Any, code: str) -> None:
    with pytest.raises(BadRequest) as raised:
        legacy(prompt=prompt)
    assert (raised.value.code, (raised.value.param or "")[:6]) == (code, "prompt")


def test_unknown_nested_fields_are_listed_by_their_path() -> None:
    tool = {"type": "function", "function": {"name": "f", "kind": "x"}, "defer": True}
    message = {"role": "user", "content": [{"type": "text", "text": "a", "mood": "b"}], "audio": {"id": "a"}}
    found = chat(messages=[USER, message], tools=[tool], response_format={"type": "text", "lax": 1})
    assert set(found.unknown) == {
        "messages[1].content[0].mood",
        "messages[1].audio",
        "tools[0].function.kind",
        "tools[0].defer",
        "response_format.lax",
    }
    assert found.messages[1].parts == (TextPart("a"),)


def test_unknown_fields_without_a_value_and_an_sdks_index_are_not_listed() -> None:
    call = {"id": "c", "type": "function", "index": 1, "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "tool_calls": [call], "audio": None, "annotations": [], "x": ""}
    assert chat(messages=[message]).unknown == ()


def test_fields_inside_a_json_schema_are_not_unknown() -> None:
    parameters = {"type": "object", "properties": {"a": {"title": "A"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert chat(tools=[tool]).unknown == ()


HOSTILE = " - at `$" * 40_000


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": HOSTILE}, "tool_choice"),
        ({"messages": [{"role": HOSTILE}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": HOSTILE}]}]}, "messages[0].content[0].type"),
        ({"response_format": {"type": HOSTILE}}, "response_format.type"),
        ({"tool_choice": {}}, "tool_choice"),
        ({"response_format": {}}, "response_format"),
    ],
)
def test_an_error_quotes_little_of_the_request_and_is_found_in_linear_time(fields: Any, param: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]} | fields
    begun = time.process_time()
    with pytest.raises(BadRequest) as caught:
        read_conversation(model_request(**body))
    assert time.process_time() - begun < 2
    assert caught.value.param == param
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("unicode", ["", "\U0001f600"])
def test_a_large_text_is_decoded_once(unicode: str) -> None:
    text = unicode + "a" * 4_000_000
    asked = model_request(messages=[{"role": "user", "content": text, "new": 1}])
    tracemalloc.start()
    conversation = read_conversation(asked)
    assert tracemalloc.get_traced_memory()[1] < sys.getsizeof(text) * 1.5
    tracemalloc.stop()
    assert conversation.unknown == ("messages[0].new",)


@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
def test_translation_takes_linear_time_and_memory(kind: str) -> None:
    def call(number: int, arguments: str = "{}") -> dict[str, Any]:
        return {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": arguments}}

    count = 5_000
    numbers = "[" + "1," * 500_000 + "1]"
    requests: list[list[Any]] = [
        [{"role": "user", "content": "a"}] * count * 4,
        [{"role": "user", "name": "n", "x": 1, "content": [{"type": "text", "text": "a"}] * 2}] * count,
        [
            {"role": "user", "content": "q"},
            *(one for i in range(count) for one in (
                {"role": "assistant", "tool_calls": [call(i)]},
                {"role": "tool", "tool_call_id": f"c{i}", "content": "r"},
            )),
        ],
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [call(1)]},
            {"role": "tool", "tool_call_id": "c1", "content": numbers},
            {"role": "assistant", "tool_calls": [call(2, f'{{"a":{numbers}}}')]},
            {"role": "tool", "tool_call_id": "c2", "content": "r"},
        ],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/" + "a/" * 500_000}}]}],
        [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png" + ";a" * 500_000 + ";base64,AA=="}},
        ]}],
    ]  # fmt: skip
    for messages in requests:
        asked = model_request(messages=messages)
        size = len(bytes(asked.fields["messages"]))
        begun = time.process_time()
        encoded(kind, asked)
        assert time.process_time() - begun < 3
        tracemalloc.start()
        encoded(kind, asked)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < max(size, 500_000) * 30
