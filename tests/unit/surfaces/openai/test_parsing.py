"""OpenAI's four request bodies: what the gateway reads of them, and what it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_completion, parse_embedding, parse_response

Parse = Callable[[bytes], ModelRequest]
MESSAGES = [{"role": "user", "content": "hi"}]


def parse(parser: Parse, **fields: Any) -> ModelRequest:
    return parser(msgspec.json.encode({"model": "m", **fields}))


def refused(parser: Parse, **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(parser, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("parser", "fields", "endpoint"),
    [
        (parse_chat, {"messages": MESSAGES}, "chat/completions"),
        (parse_completion, {"prompt": "hi"}, "completions"),
        (parse_completion, {"prompt": None}, "completions"),
        (parse_completion, {}, "completions"),
        (parse_embedding, {"input": [1, 2]}, "embeddings"),
        (parse_response, {"input": "hi"}, "responses"),
    ],
)
def test_unknown_fields_pass_unchanged(parser: Parse, fields: dict[str, Any], endpoint: str) -> None:
    request = parse(parser, **fields, x_odd={"a": [1]})
    assert (request.endpoint, request.model, request.stream, request.wants_usage) == (
        endpoint,
        "m",
        False,
        False,
    )
    assert bytes(request.fields["x_odd"]) == b'{"a":[1]}'
    assert request.stateful_field is None


@pytest.mark.parametrize(
    ("parser", "fields", "param", "message"),
    [
        (parse_chat, {}, "messages", "is missing"),
        (parse_chat, {"messages": "hi"}, "messages", "must be an array of messages, not a string"),
        (parse_chat, {"messages": None}, "messages", "not null"),
        (parse_completion, {"prompt": {}}, "prompt", "a string or an array, not an object"),
        (parse_completion, {"prompt": 1}, "prompt", "not a number"),
        (parse_embedding, {}, "input", "is missing"),
        (parse_embedding, {"input": None}, "input", "is missing"),
        (parse_embedding, {"input": {}}, "input", "not an object"),
        (parse_response, {}, "input", "is missing"),
        (parse_response, {"input": 1}, "input", "not a number"),
        (parse_response, {"input": "hi", "stream": "yes"}, "stream", "true or false"),
        (parse_response, {"input": "hi", "background": True}, "background", "background responses"),
        (parse_response, {"input": "hi", "background": "x"}, "background", "true or false"),
        (parse_response, {"input": "hi", "model": None}, "model", "must be a string"),
    ],
)
def test_a_wrong_field_is_named(parser: Parse, fields: dict[str, Any], param: str, message: str) -> None:
    error = refused(parser, **fields)
    assert error.param == param
    assert message in error.message


@pytest.mark.parametrize("parser", [parse_chat, parse_completion, parse_embedding, parse_response])
def test_every_request_needs_a_model(parser: Parse) -> None:
    with pytest.raises(BadRequest) as caught:
        parser(b'{"messages": [], "input": "hi", "prompt": "hi"}')
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("stream", "options", "wants"),
    [
        (True, {"include_usage": True}, True),
        (True, {"include_usage": False}, False),
        (True, {"include_usage": None}, False),
        (True, {}, False),
        (True, None, False),
        (False, {"include_usage": True}, False),
        (False, [], False),
    ],
)
def test_usage_is_wanted_in_streams_that_ask_for_it(stream: bool, options: Any, wants: bool) -> None:
    request = parse(parse_chat, messages=MESSAGES, stream=stream, stream_options=options)
    assert (request.stream, request.wants_usage) == (stream, wants)


@pytest.mark.parametrize("options", [[], "x", {"include_usage": "x"}, 1])
def test_stream_options_of_the_wrong_type_are_refused(options: Any) -> None:
    error = refused(parse_completion, prompt="hi", stream=True, stream_options=options)
    assert (error.param, error.code) == ("stream_options", "invalid_type")


def test_embeddings_are_never_streamed() -> None:
    assert not parse(parse_embedding, input="hi", stream=True).stream


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_state_at_the_provider_is_noted_and_replaces_the_input(field: str) -> None:
    request = parse(parse_response, **{field: "id"}, stream=True)
    assert (request.stateful_field, request.stream, request.wants_usage) == (field, True, False)
    assert refused(parse_response, **{field: None}).param == "input"
    assert refused(parse_response, **{field: "id"}, input=1).param == "input"
