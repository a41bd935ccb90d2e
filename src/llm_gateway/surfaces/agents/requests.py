"""Reads the requests of agents: a few fields of OpenAI's chat completions, and on whose behalf they are sent."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.surfaces.translating.bodies import INVALID_JSON, read_body
from llm_gateway.surfaces.translating.chat import chat_request
from llm_gateway.wire.raw_json import JsonObject, is_utf8

# More than any model writes.
_MOST_TOKENS: Final = 10_000_000
_LONGEST_NAME: Final = 256
_LONGEST_MODEL: Final = 512

_Tokens = Annotated[int, msgspec.Meta(ge=1, le=_MOST_TOKENS)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_Name = Annotated[str, msgspec.Meta(max_length=_LONGEST_NAME)]
_Objects = list[JsonObject]


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    agent_id: _Name | None = None
    microdao_id: _Name | None = None
    channel_id: _Name | None = None


class _Message(msgspec.Struct):
    """What is checked of a message; its other fields are the provider's to judge."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | _Objects | None = None
    tool_calls: _Objects | None = None
    function_call: JsonObject | None = None


class _Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_MODEL)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_tokens: _Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    metadata: _Metadata | None = None
    stream: bool | None = None
    tools: _Objects | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    functions: _Objects | None = None
    function_call: str | JsonObject | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    response_format: JsonObject | None = None
    max_completion_tokens: _Tokens | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    user: _Name | None = None


FIELDS: Final = _Body.__struct_fields__
# Not sent to the provider as they are.
_OWN: Final = frozenset({"model", "messages", "metadata", "stream"})
_decoder = msgspec.json.Decoder(_Body)
_decode_fields = msgspec.json.Decoder(JsonObject).decode


def read_request(body: bytes) -> tuple[ModelRequest, Attribution]:
    """Return the canonical request, with the values of its fields as they were sent; raise BadRequest."""
    if not is_utf8(body):
        message = "The body is not UTF-8. Send a JSON object in UTF-8."
        raise BadRequest(message, code=INVALID_JSON)
    read = read_body(body, _decoder, FIELDS)
    _check_messages(read.messages)
    attribution = _attribution(read.metadata or _Metadata(), read.user)
    raw = _decode_fields(body)
    parameters = {
        name: value for name, value in raw.items() if name not in _OWN and getattr(read, name) is not None
    }
    return chat_request(read.model, raw["messages"], parameters, stream=bool(read.stream)), attribution


def _check_messages(messages: list[_Message]) -> None:
    for index, message in enumerate(messages):
        if message.content is None and message.role != "assistant":
            place = f"messages[{index}].content"
            text = f"The field '{place}' is missing: a message of the role {message.role} needs a text."
            raise BadRequest(text, param=place)
    if not any(message.content or message.tool_calls or message.function_call for message in messages):
        text = "The field 'messages' has no text: every content is empty. Say what the model should answer."
        raise BadRequest(text, param="messages")


def _attribution(metadata: _Metadata, user: str | None) -> Attribution:
    for name in metadata.__struct_fields__:
        _check_name(f"metadata.{name}", getattr(metadata, name))
    _check_name("user", user)
    return Attribution(
        tenant=metadata.microdao_id or None,
        agent=metadata.agent_id or None,
        channel=metadata.channel_id or None,
        user=user or None,
        is_trusted=True,
    )


def _check_name(place: str, name: str | None) -> None:
    if name is not None and not name.isprintable():
        raise BadRequest(f"The field '{place}' must hold printable characters only.", param=place)
