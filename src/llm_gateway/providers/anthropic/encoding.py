"""Builds requests for the Messages API. Each client field is sent, rejected, or ignored and reported."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.messages import called_without_thinking, encode_messages
from llm_gateway.providers.anthropic.models import (
    NEWEST_VERSION,
    SAMPLING_VERSION,
    ModelCapabilities,
    capabilities_of,
)
from llm_gateway.providers.anthropic.parts import PROVIDER, text_block
from llm_gateway.providers.anthropic.schemas import strict_schema
from llm_gateway.providers.anthropic.thinking import Reasoning, reasoning_for
from llm_gateway.providers.translating.fields import check_unsupported, unsupported_field
from llm_gateway.wire.openai_chat.conversation import Conversation, NamedTool, Tool
from llm_gateway.wire.openai_chat.request_reader import read_conversation

# Anthropic's own fields, which clients of its OpenAI-compatible endpoint send, are forwarded unchanged.
_VERBATIM = ("cache_control", "thinking")
_CARRIED = frozenset({*_VERBATIM, "user", "safety_identifier", "service_tier", "top_k"})
# OpenAI's range is 0 to 2, with the same default of 1.
_HIGHEST_TEMPERATURE = 1.0
_JSON_ONLY = "Answer with one JSON object and nothing else: no words around it, no code fence."


# The most characters of a user id.
_LONGEST_USER_ID = 256
_PHONE = re.compile(r"(?:tel:)?\+?[\d\s().-]{7,}", re.IGNORECASE)


class Encoded(msgspec.Struct, frozen=True):
    """A request body, the client's fields that were ignored, and the value of the `anthropic-version` header."""

    body: dict[str, Any]
    ignored_fields: tuple[str, ...]
    version: str


def encode_request(request: ModelRequest, model: str, pinned_version: str | None) -> Encoded:
    """Translate a request for the model `model`; raise BadRequest for a field that Anthropic does not support.

    `pinned_version` is the API version that an operator configured; None selects one that fits the request.
    """
    conversation = read_conversation(request)
    if conversation.n != 1:
        raise unsupported_field(PROVIDER, "n")
    capabilities = capabilities_of(model)
    encoded = encode_messages(conversation.messages, model)
    ignored_fields = [*check_unsupported(PROVIDER, conversation, _CARRIED), *encoded.ignored_fields]
    max_tokens = capabilities.max_tokens if conversation.max_tokens is None else conversation.max_tokens
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "messages": encoded.turns}
    reasoning = reasoning_for(
        conversation.reasoning_effort,
        capabilities,
        max_tokens,
        may_think=not _forces_a_tool(conversation) and _may_think(capabilities, encoded.turns),
    )
    _put_reasoning(body, reasoning, ignored_fields)
    _put_format(conversation, body, encoded.system, ignored_fields)
    if encoded.system:
        body["system"] = encoded.system
    _put_tools(conversation, body, ignored_fields)
    if stops := [_checked_stop(stop) for stop in conversation.stop if stop]:
        body["stop_sequences"] = stops
    _put_identity(conversation, body, ignored_fields)
    body |= {name: conversation.rest[name] for name in _VERBATIM if name in conversation.rest}
    if request.stream:
        body["stream"] = True
    version = _put_sampling(conversation, body, capabilities, pinned_version, ignored_fields)
    return Encoded(body, tuple(dict.fromkeys(ignored_fields)), version)


def _forces_a_tool(conversation: Conversation) -> bool:
    return conversation.tool_choice == "required" or isinstance(conversation.tool_choice, NamedTool)


def _may_think(capabilities: ModelCapabilities, turns: list[dict[str, Any]]) -> bool:
    """Only a thinking budget is rejected after tool calls that were made without thinking."""
    return capabilities.thinking != "budget" or not called_without_thinking(turns)


def _put_reasoning(body: dict[str, Any], reasoning: Reasoning, ignored_fields: list[str]) -> None:
    if reasoning.thinking is not None:
        body["thinking"] = reasoning.thinking
    if reasoning.effort is not None:
        body["output_config"] = {"effort": reasoning.effort}
    if not reasoning.is_exact:
        ignored_fields.append("reasoning_effort")


def _put_format(
    conversation: Conversation, body: dict[str, Any], system: list[dict[str, Any]], ignored_fields: list[str]
) -> None:
    """Request JSON: with the schema, or without one by a system prompt, which guarantees nothing."""
    wanted = conversation.response_format
    if wanted is None or wanted.type == "text":
        return
    schema = wanted.json_schema.schema if wanted.json_schema is not None else None
    if schema is None:
        system.append(text_block(_JSON_ONLY))
        ignored_fields.append("response_format")
        return
    if wanted.json_schema is not None and wanted.json_schema.description:
        ignored_fields.append("response_format.json_schema.description")
    transformed, changed = strict_schema(schema, "response_format.json_schema.schema")
    ignored_fields += changed
    config = {"format": {"type": "json_schema", "schema": transformed}}
    body["output_config"] = body.get("output_config", {}) | config


def _put_tools(conversation: Conversation, body: dict[str, Any], ignored_fields: list[str]) -> None:
    choice: dict[str, Any] | None = None
    wanted = conversation.tool_choice
    if isinstance(wanted, NamedTool):
        choice = {"type": "tool", "name": wanted.function.name}
    elif wanted == "required":
        choice = {"type": "any"}
    elif conversation.tools and wanted is not None:
        choice = {"type": wanted}
    if conversation.tools:
        body["tools"] = [
            _tool(tool, f"tools[{at}].function.parameters", ignored_fields)
            for at, tool in enumerate(conversation.tools)
        ]
        if conversation.parallel_tool_calls is False and wanted != "none":
            choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Tool, path: str, ignored_fields: list[str]) -> dict[str, Any]:
    function = tool.function
    schema: dict[str, Any] = {"type": "object", **(function.parameters or {})}
    schema.setdefault("properties", {})
    if function.strict:
        schema, changed = strict_schema(schema, path)
        ignored_fields += changed
    made: dict[str, Any] = {"name": function.name, "input_schema": schema}
    if function.description:
        made["description"] = function.description
    if function.strict:
        made["strict"] = True
    if tool.cache_control is not None:
        made["cache_control"] = tool.cache_control
    return made


def _checked_stop(stop: str) -> str:
    if stop.strip():
        return stop
    message = (
        f"The field 'stop' has a sequence of only white space. This model's provider, which uses {PROVIDER}, "
        "does not support that: remove the sequence or use a model of another provider."
    )
    raise BadRequest(message, param="stop", code="unsupported_by_provider")


def _put_identity(conversation: Conversation, body: dict[str, Any], ignored_fields: list[str]) -> None:
    """Set the user id and the service tier; `safety_identifier` wins over `user`, OpenAI's older name."""
    names = [name for name in ("safety_identifier", "user") if name in conversation.rest]
    for name in names[:1]:
        given = _text(conversation, name)
        opaque = opaque_user_id(given)
        body["metadata"] = {"user_id": opaque}
        if opaque != given:
            ignored_fields.append(name)
    ignored_fields += [name for name in names[1:] if conversation.rest[name] != conversation.rest[names[0]]]
    if "service_tier" in conversation.rest:
        tier = _text(conversation, "service_tier")
        if tier == "default":
            body["service_tier"] = "standard_only"
        elif tier != "auto":
            ignored_fields.append("service_tier")


def opaque_user_id(given: str) -> str:
    """Return a user's id as it is, or its SHA-256 if it resembles an e-mail address or a phone number or is too long.

    The API rejects ids that identify a person. The same user always has the same hash.
    """
    is_personal = "@" in given or (len(given) <= _LONGEST_USER_ID and _PHONE.fullmatch(given) is not None)
    if is_personal or len(given) > _LONGEST_USER_ID:
        return hashlib.sha256(given.encode()).hexdigest()
    return given


def _text(conversation: Conversation, name: str) -> str:
    try:
        return msgspec.json.decode(conversation.rest[name], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"The field '{name}' must be a string.", param=name, code="invalid_type") from None


def _put_sampling(
    conversation: Conversation,
    body: dict[str, Any],
    capabilities: ModelCapabilities,
    pinned_version: str | None,
    ignored_fields: list[str],
) -> str:
    """Set those of temperature, top_p and top_k that the model supports; return the API version to use."""
    asked: dict[str, Any] = {}
    if conversation.temperature is not None:
        if conversation.temperature > _HIGHEST_TEMPERATURE:
            ignored_fields.append("temperature")
        asked["temperature"] = min(conversation.temperature, _HIGHEST_TEMPERATURE)
    asked["top_p"] = conversation.top_p
    asked["top_k"] = conversation.rest.get("top_k")
    # 1 is the default of temperature and top_p.
    asked = {name: value for name, value in asked.items() if value is not None and value != 1}
    version = pinned_version or (SAMPLING_VERSION if asked and capabilities.samples else capabilities.version)
    thinks = isinstance(thinking := body.get("thinking"), dict) and thinking["type"] == "enabled"
    if not capabilities.samples or thinks or version >= NEWEST_VERSION:
        ignored_fields += asked
        return version if pinned_version else capabilities.version
    if len(asked) > 1 and "temperature" in asked and "top_p" in asked and not capabilities.samples_both:
        ignored_fields.append("top_p")
        del asked["top_p"]
    body |= asked
    return version
