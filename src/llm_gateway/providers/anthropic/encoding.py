"""Writes the request for the Messages API: every field carried, refused, or left out and named."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.messages import called_without_thinking, speak
from llm_gateway.providers.anthropic.models import (
    NEWEST_VERSION,
    SAMPLING_VERSION,
    ModelCapabilities,
    capabilities_of,
)
from llm_gateway.providers.anthropic.parts import PROVIDER, text_block
from llm_gateway.providers.anthropic.thinking import Reasoning, reasoning_for
from llm_gateway.providers.translating.fields import settle, unsupported_field
from llm_gateway.wire.openai_chat.conversation import Conversation, NamedTool, Tool
from llm_gateway.wire.openai_chat.request_reader import read_conversation

# Anthropic's own fields, which clients of its OpenAI-like endpoint may send, go on as they are.
_VERBATIM = ("cache_control", "thinking")
_CARRIED = frozenset({*_VERBATIM, "user", "safety_identifier", "service_tier", "top_k"})
# OpenAI's goes from 0 to 2, with the same default.
_HIGHEST_TEMPERATURE = 1.0
_JSON_ONLY = "Answer with one JSON object and nothing else: no words around it, no code fence."


class Encoded(msgspec.Struct, frozen=True):
    """A request's body, the fields that are not in it, and the API version that it is written for."""

    body: dict[str, Any]
    ignored_fields: tuple[str, ...]
    version: str


def encode_request(request: ModelRequest, model: str, pinned_version: str | None) -> Encoded:
    """Return the request for an upstream model; raise BadRequest for what cannot be carried.

    `pinned_version` is the API version that an operator wants, None for the one that fits.
    """
    conversation = read_conversation(request)
    if conversation.n != 1:
        raise unsupported_field(PROVIDER, "n")
    traits = capabilities_of(model)
    spoken = speak(conversation.messages, model)
    ignored_fields = [*settle(PROVIDER, conversation, _CARRIED), *spoken.ignored_fields]
    max_tokens = traits.max_tokens if conversation.max_tokens is None else conversation.max_tokens
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "messages": spoken.turns}
    reasoning = reasoning_for(
        conversation.reasoning_effort,
        traits,
        max_tokens,
        may_think=not _forces_a_tool(conversation) and _may_think(traits, spoken.turns),
    )
    _put_reasoning(body, reasoning, ignored_fields)
    _put_format(conversation, body, spoken.system, ignored_fields)
    if spoken.system:
        body["system"] = spoken.system
    _put_tools(conversation, body)
    if stops := [_checked_stop(stop) for stop in conversation.stop if stop]:
        body["stop_sequences"] = stops
    _put_identity(conversation, body, ignored_fields)
    body |= {name: conversation.rest[name] for name in _VERBATIM if name in conversation.rest}
    if request.stream:
        body["stream"] = True
    version = _put_sampling(conversation, body, traits, pinned_version, ignored_fields)
    return Encoded(body, tuple(dict.fromkeys(ignored_fields)), version)


def _forces_a_tool(conversation: Conversation) -> bool:
    return conversation.tool_choice == "required" or isinstance(conversation.tool_choice, NamedTool)


def _may_think(traits: ModelCapabilities, turns: list[dict[str, Any]]) -> bool:
    """Adaptive thinking does not mind calls that were made without it."""
    return traits.thinking != "budget" or not called_without_thinking(turns)


def _put_reasoning(body: dict[str, Any], reasoning: Reasoning, ignored_fields: list[str]) -> None:
    if reasoning.thinking is not None:
        body["thinking"] = reasoning.thinking
    if reasoning.effort is not None:
        body["output_config"] = {"effort": reasoning.effort}
    if not reasoning.is_whole:
        ignored_fields.append("reasoning_effort")


def _put_format(
    conversation: Conversation, body: dict[str, Any], system: list[dict[str, Any]], ignored_fields: list[str]
) -> None:
    """Ask for JSON: by its schema, or, where there is none, in words that guarantee nothing."""
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
    config = {"format": {"type": "json_schema", "schema": schema}}
    body["output_config"] = body.get("output_config", {}) | config


def _put_tools(conversation: Conversation, body: dict[str, Any]) -> None:
    choice: dict[str, Any] | None = None
    wanted = conversation.tool_choice
    if isinstance(wanted, NamedTool):
        choice = {"type": "tool", "name": wanted.function.name}
    elif wanted == "required":
        choice = {"type": "any"}
    elif conversation.tools and wanted is not None:
        choice = {"type": wanted}
    if conversation.tools:
        body["tools"] = [_tool(tool) for tool in conversation.tools]
        if conversation.parallel_tool_calls is False and wanted != "none":
            choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Tool) -> dict[str, Any]:
    function = tool.function
    schema: dict[str, Any] = {"type": "object", **(function.parameters or {})}
    schema.setdefault("properties", {})
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
        f"The field 'stop' holds white space alone, which this model's provider, who speaks {PROVIDER}, "
        "cannot stop at. Leave it out, or use a model of another provider."
    )
    raise BadRequest(message, param="stop", code="unsupported_by_provider")


def _put_identity(conversation: Conversation, body: dict[str, Any], ignored_fields: list[str]) -> None:
    """Say on whose behalf, and in which tier: both names of OpenAI's for the first mean one field here."""
    names = [name for name in ("safety_identifier", "user") if name in conversation.rest]
    for name in names[:1]:
        body["metadata"] = {"user_id": _text(conversation, name)}
    ignored_fields += [name for name in names[1:] if conversation.rest[name] != conversation.rest[names[0]]]
    if "service_tier" in conversation.rest:
        tier = _text(conversation, "service_tier")
        if tier == "default":
            body["service_tier"] = "standard_only"
        elif tier != "auto":
            ignored_fields.append("service_tier")


def _text(conversation: Conversation, name: str) -> str:
    try:
        return msgspec.json.decode(conversation.rest[name], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"The field '{name}' must be a string.", param=name, code="invalid_type") from None


def _put_sampling(
    conversation: Conversation,
    body: dict[str, Any],
    traits: ModelCapabilities,
    pinned_version: str | None,
    ignored_fields: list[str],
) -> str:
    """Add what the model takes of temperature, top_p and top_k; return the API version that has them."""
    asked: dict[str, Any] = {}
    if conversation.temperature is not None:
        if conversation.temperature > _HIGHEST_TEMPERATURE:
            ignored_fields.append("temperature")
        asked["temperature"] = min(conversation.temperature, _HIGHEST_TEMPERATURE)
    asked["top_p"] = conversation.top_p
    asked["top_k"] = conversation.rest.get("top_k")
    # The default, 1 for both, asks for nothing.
    asked = {name: value for name, value in asked.items() if value is not None and value != 1}
    version = pinned_version or (SAMPLING_VERSION if asked and traits.samples else traits.version)
    thinks = isinstance(thinking := body.get("thinking"), dict) and thinking["type"] == "enabled"
    if not traits.samples or thinks or version >= NEWEST_VERSION:
        ignored_fields += asked
        return version if pinned_version else traits.version
    if len(asked) > 1 and "temperature" in asked and "top_p" in asked and not traits.samples_twice:
        ignored_fields.append("top_p")
        del asked["top_p"]
    body |= asked
    return version
