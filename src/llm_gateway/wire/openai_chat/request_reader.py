"""Reads a chat or legacy completion request into a Conversation, and names the invalid field in errors."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.wire.openai_chat.conversation import Conversation, Message, ResponseFormat, Tool, ToolChoice
from llm_gateway.wire.raw_json import JsonObject, says_nothing

_T = TypeVar("_T")
_decode_fields = msgspec.json.Decoder(JsonObject).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
# How msgspec ends the message of an error that is inside a value. The message may quote text of the client.
_PLACE = " - at `$"
_LONGEST_REASON = 200
_HANDLED = frozenset(
    {
        "model", "messages", "prompt", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "n",
        "reasoning_effort",
    }
)  # fmt: skip
# The nested parts of a request. SDKs add `index` and `type` when they send a streamed call back: ignored.
_NESTED = ("messages", "tools", "tool_choice", "response_format")
_SAYS_NOTHING = frozenset({"index", "type"})


def read_conversation(request: ModelRequest) -> Conversation:
    """Return the request as typed values; raise BadRequest that names the field by its path.

    A legacy completion's prompt becomes one user message.
    """
    fields = {name: raw for name, raw in request.fields.items() if bytes(raw) != b"null"}
    is_legacy = not request.traits.is_chat
    messages = _prompt(fields) if is_legacy else _read(fields, "messages", tuple[Message, ...], ())
    if not messages:
        name = "prompt" if is_legacy else "messages"
        raise BadRequest(f"The field '{name}' is empty; the provider needs at least one message.", param=name)
    tools = _read(fields, "tools", tuple[Tool, ...], ())
    tool_choice = _read(fields, "tool_choice", ToolChoice | None, None)
    response_format = _read(fields, "response_format", ResponseFormat | None, None)
    typed = dict(zip(_NESTED, (messages, tools, tool_choice, response_format), strict=True))
    limit = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
    return Conversation(
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=_read(fields, "parallel_tool_calls", bool | None, None),
        response_format=response_format,
        max_tokens=_read(fields, limit, int | None, None),
        temperature=_read(fields, "temperature", float | None, None),
        top_p=_read(fields, "top_p", float | None, None),
        stop=_stop(fields),
        n=_read(fields, "n", int, 1),
        reasoning_effort=_read(fields, "reasoning_effort", str | None, None),
        rest={name: raw for name, raw in fields.items() if name not in _HANDLED},
        unknown=tuple(
            f"{name}{path}"
            for name, value in typed.items()
            if name in fields
            for path in _unknown(fields[name], value)
        ),
    )


def _read(fields: JsonObject, name: str, wanted: Any, default: _T) -> _T:  # noqa: ANN401 - a type of any form
    raw = fields.get(name)
    if raw is None:
        return default
    try:
        value: _T = msgspec.json.decode(raw, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(name, error) from None
    return value


def _wrong(name: str, error: Exception) -> BadRequest:
    reason = str(error) if isinstance(error, msgspec.ValidationError) else "it cannot be read"
    place = ""
    if reason.endswith("`") and _PLACE in reason:
        reason, _, place = reason.removesuffix("`").rpartition(_PLACE)
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}..."
    param = name + place
    return BadRequest(
        f"The field '{param}' cannot be used as it is: {reason}.",
        param=param,
        code="invalid_type",
    )


def _prompt(fields: JsonObject) -> tuple[Message, ...]:
    prompt: str | list[str] = _read(fields, "prompt", str | list[str], "")
    if isinstance(prompt, list):
        if len(prompt) != 1:
            message = "The field 'prompt' must be one text: this model's provider answers one at a time."
            raise BadRequest(message, param="prompt", code="unsupported_by_provider")
        prompt = prompt[0]
    return (Message(role="user", content=prompt),) if prompt else ()


def _stop(fields: JsonObject) -> tuple[str, ...]:
    stop: str | list[str] = _read(fields, "stop", str | list[str], [])
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _unknown(raw: msgspec.Raw, value: object) -> list[str]:
    """Return the paths below `raw` of the values that its typed form `value` has no field for.

    Strings are not decoded: they may be most of a request, and take four times their size.
    """
    if isinstance(value, msgspec.Struct) and _begins(raw, b"{"):
        found = []
        for name, inner in _decode_fields(raw).items():
            if name in value.__struct_fields__:
                found += [f".{name}{path}" for path in _unknown(inner, getattr(value, name))]
            elif name not in _SAYS_NOTHING and not says_nothing(inner):
                found.append(f".{name}")
        return found
    if isinstance(value, (list, tuple)) and _begins(raw, b"["):
        return [
            f"[{index}]{path}"
            for index, (inner, typed) in enumerate(zip(_decode_items(raw), value, strict=True))
            for path in _unknown(inner, typed)
        ]
    return []


def _begins(raw: msgspec.Raw, bracket: bytes) -> bool:
    return memoryview(raw)[:1] == bracket
