"""Canonical chat requests and replies for APIs that ask for a text, or a few messages, and get a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.wire.lenient import lenient_decoder

_encode = msgspec.json.Encoder().encode
_STREAM_OPTIONS: Final = msgspec.Raw(b'{"include_usage":true}')


_ABSENT: Final = msgspec.Raw(b"null")


class ReplyText(msgspec.Struct, gc=False):
    """The first choice of a reply, or of a part of a stream.

    `tool_calls` is OpenAI's JSON, None without any; so is `function_call`, the older form.
    """

    content: str = ""
    tool_calls: msgspec.Raw | None = None
    finish_reason: str | None = None
    function_call: msgspec.Raw | None = None


class _Part(msgspec.Struct, gc=False):
    """A part of a content. Others than texts, such as Mistral's thoughts, have none."""

    text: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct, gc=False):
    choices: list[_Choice] = []


_decode = lenient_decoder(_Reply)


def chat_request(
    model: str, messages: object, parameters: Mapping[str, Any], *, stream: bool
) -> ModelRequest:
    """Return the canonical request; parameters that are None are left out.

    `messages` are OpenAI's: a list, or its JSON as `msgspec.Raw`.
    """
    given = {"model": model, "messages": messages, **parameters}
    fields = {name: _raw(value) for name, value in given.items() if value is not None}
    if stream:
        fields["stream"] = msgspec.Raw(b"true")
        # The gateway meters by it; whether the client sees it is for the surface to say.
        fields["stream_options"] = _STREAM_OPTIONS
    return ModelRequest("chat/completions", model, stream, stream, fields)


def reply_text(body: bytes) -> ReplyText:
    """Return the first choice of a whole canonical reply; an empty one if it is not readable."""
    try:
        choices = _decode(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ReplyText()
    return _text(choices[0]) if choices else ReplyText()


def stream_texts(events: bytes) -> Iterator[ReplyText]:
    """Yield the parts of the first choice in canonical stream events; events without any yield nothing."""
    for event in split_events(events):
        data = event_data(event)
        if data is None:
            continue
        try:
            choices = _decode(data).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for choice in choices:
            if choice.index == 0:
                yield _text(choice)


def sse_event(fields: object) -> bytes:
    """Return `fields` as one server-sent event of JSON data."""
    return b"data: " + _encode(fields) + b"\n\n"


def _text(choice: _Choice) -> ReplyText:
    message = choice.message or choice.delta or _Message()
    content = message.content
    if isinstance(content, list):
        content = "".join(part.text or "" for part in content)
    return ReplyText(
        # A refusal is what the model says instead of an answer.
        content or message.refusal or "",
        _given(message.tool_calls),
        choice.finish_reason,
        _given(message.function_call),
    )


def _given(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if bytes(raw) in {b"null", b"[]"} else raw


def _raw(value: object) -> msgspec.Raw:
    return value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encode(value))
