"""Reads the bodies of completions and chats, and fills in what they leave out."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import Attribution, IncomingCall
from llm_gateway.surfaces.ping.callers import subject_of
from llm_gateway.surfaces.ping.options import DEFAULT_PROJECT, DEFAULT_USER, PingOptions
from llm_gateway.surfaces.translating.bodies import MISSING_FIELD, WRONG_TYPE, read_body
from llm_gateway.surfaces.translating.chat import chat_request

# No model gives longer replies.
_MOST_TOKENS: Final = 1_000_000
_HIGHEST_TEMPERATURE: Final = 2.0
_LONGEST_NAME: Final = 256
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")


class _Completion(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    soeid: str | None = None
    project_name: str | None = None
    prompt: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stream: bool | None = None


class _Chat(_Completion, forbid_unknown_fields=True, gc=False):
    messages: list[dict[str, Any]] | None = None


COMPLETION_FIELDS: Final = _Completion.__struct_fields__
CHAT_FIELDS: Final = _Chat.__struct_fields__
_completions: Final = msgspec.json.Decoder(_Completion)
_chats: Final = msgspec.json.Decoder(_Chat)


def read_completion(
    options: PingOptions, body: bytes, call: IncomingCall
) -> tuple[ModelRequest, Attribution]:
    """Read the body of POST /api/llm/completion; raise BadRequest that names the field."""
    sent = read_body(body, _completions, COMPLETION_FIELDS)
    if sent.prompt is None:
        message = "The field 'prompt' is missing. Send the text that the model is to complete."
        raise BadRequest(message, param="prompt", code=MISSING_FIELD)
    return _request(options, sent, _asked(sent.prompt), call)


def read_chat(options: PingOptions, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
    """Read the body of POST /api/llm/chat, which has a prompt or messages; raise BadRequest that names the field."""
    sent = read_body(body, _chats, CHAT_FIELDS)
    if sent.prompt is not None and sent.messages is not None:
        message = "Send 'prompt' or 'messages', not both: a prompt is a single message of the user."
        raise BadRequest(message, param="messages")
    if sent.prompt is not None:
        return _request(options, sent, _asked(sent.prompt), call)
    if sent.messages is None:
        message = "Both 'prompt' and 'messages' are missing. Send one of them."
        raise BadRequest(message, param="prompt", code=MISSING_FIELD)
    return _request(options, sent, _checked(sent.messages), call)


def _asked(prompt: str) -> list[dict[str, Any]]:
    if not prompt.strip():
        raise BadRequest(
            "The field 'prompt' is empty. Send the text that the model is to answer.", param="prompt"
        )
    return [{"role": "user", "content": prompt}]


def _checked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages. Their contents are the provider's business, because they differ from model to model."""
    if not messages:
        raise BadRequest("The field 'messages' is empty. Send at least one message.", param="messages")
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role = message.get("role")
        if role is None:
            text = f"The field '{place}.role' is missing. It is one of: {', '.join(_ROLES)}."
            raise BadRequest(text, param=f"{place}.role", code=MISSING_FIELD)
        if not isinstance(role, str) or role not in _ROLES:
            text = f"The field '{place}.role' must be one of: {', '.join(_ROLES)}."
            raise BadRequest(text, param=f"{place}.role", code=WRONG_TYPE)
        content = message.get("content")
        if role in {"assistant", "tool"}:
            # An assistant may have called a tool instead.
            continue
        if content is None:
            raise BadRequest(
                f"The field '{place}.content' is missing.", param=f"{place}.content", code=MISSING_FIELD
            )
        if not isinstance(content, (str, list)):
            text = f"The field '{place}.content' must be a text, or a list of parts."
            raise BadRequest(text, param=f"{place}.content", code=WRONG_TYPE)
        if not content:
            raise BadRequest(f"The field '{place}.content' is empty.", param=f"{place}.content")
    return messages


def _request(
    options: PingOptions, sent: _Completion, messages: list[dict[str, Any]], call: IncomingCall
) -> tuple[ModelRequest, Attribution]:
    temperature = options.default_temperature if sent.temperature is None else sent.temperature
    if not 0 <= temperature <= _HIGHEST_TEMPERATURE:
        message = f"The field 'temperature' must be 0 to {_HIGHEST_TEMPERATURE:g}."
        raise BadRequest(message, param="temperature")
    max_tokens = options.default_max_tokens if sent.max_tokens is None else sent.max_tokens
    if not 1 <= max_tokens <= _MOST_TOKENS:
        raise BadRequest(f"The field 'max_tokens' must be 1 to {_MOST_TOKENS}.", param="max_tokens")
    model = options.default_model if sent.model is None else sent.model
    if not model:
        message = f"The field 'model' is empty. Leave it out for the default, {options.default_model}."
        raise BadRequest(message, param="model")
    request = chat_request(
        model, messages, {"temperature": temperature, "max_tokens": max_tokens}, stream=sent.stream is True
    )
    return request, _attribution(sent, call)


def _attribution(sent: _Completion, call: IncomingCall) -> Attribution:
    """Return on whose behalf the request is sent; a credential does not vouch for the user whom its body names."""
    subject = subject_of(call.api_key)
    soeid = checked_name("soeid", sent.soeid)
    return Attribution(
        user=subject or soeid,
        soeid=soeid or subject or DEFAULT_USER,
        project=checked_name("project_name", sent.project_name) or DEFAULT_PROJECT,
    )


def checked_name(field: str, name: str | None) -> str | None:
    """Return a name as it is stored, None for an empty one; raise BadRequest for one that cannot be stored."""
    if not name:
        return None
    if len(name) > _LONGEST_NAME:
        message = f"The field '{field}' has more than {_LONGEST_NAME} characters."
        raise BadRequest(message, param=field)
    if not name.isprintable():
        message = f"The field '{field}' must hold printable characters only: no line breaks or controls."
        raise BadRequest(message, param=field)
    return name
