"""Encodes the body of a generateContent request, and reports which of the client's fields it ignores."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.gemini.contents import Contents
from llm_gateway.providers.gemini.decoding import MOST_CHOICES
from llm_gateway.providers.gemini.generation import carried, generation_config, thinks_by_level
from llm_gateway.providers.gemini.names import gemini_name
from llm_gateway.providers.translating.fields import check_unsupported, unsupported_field
from llm_gateway.wire.openai_chat.conversation import Conversation, NamedTool, Tool
from llm_gateway.wire.openai_chat.request_reader import read_conversation

_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}


def write_body(request: ModelRequest, model: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the body for `model` and the paths of the ignored fields.

    Raise BadRequest for a field that is invalid or that Gemini does not support.
    """
    conversation = read_conversation(request)
    is_chat = request.traits.is_chat
    if not 1 <= conversation.n <= MOST_CHOICES:
        raise BadRequest(f"The field 'n' must be between 1 and {MOST_CHOICES}.", param="n")
    if conversation.parallel_tool_calls is False and conversation.tools:
        raise unsupported_field("Gemini", "parallel_tool_calls")
    if conversation.tools and not is_chat:
        raise unsupported_field("Gemini", "tools")
    ignored_fields = [*check_unsupported("Gemini", conversation, carried(is_chat=is_chat))]
    contents = Contents(conversation.messages, needs_signatures=thinks_by_level(model))
    body: dict[str, Any] = {
        "contents": contents.contents,
        "systemInstruction": contents.system_instruction,
        "tools": _tools(conversation),
        "toolConfig": _tool_config(conversation),
        "generationConfig": generation_config(conversation, model, ignored_fields, is_chat=is_chat) or None,
    }
    written = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
    return written, (*ignored_fields, *contents.ignored_fields, *_lost_fields(conversation))


def _tools(conversation: Conversation) -> list[dict[str, Any]] | None:
    if not conversation.tools:
        return None
    return [{"functionDeclarations": [_declaration(tool) for tool in conversation.tools]}]


def _declaration(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {
        "name": gemini_name(tool.function.name),
        "description": tool.function.description,
        "parametersJsonSchema": tool.function.parameters,
    }
    return {name: value for name, value in declared.items() if value is not None}


def _tool_config(conversation: Conversation) -> dict[str, Any] | None:
    """Return the calling mode: VALIDATED if a function is strict and `tool_choice` leaves the choice to the model."""
    choice = conversation.tool_choice
    config: dict[str, Any]
    if isinstance(choice, NamedTool):
        config = {"mode": "ANY", "allowedFunctionNames": [gemini_name(choice.function.name)]}
    elif choice in {None, "auto"} and any(tool.function.strict for tool in conversation.tools):
        config = {"mode": "VALIDATED"}
    elif choice is None:
        return None
    else:
        config = {"mode": _MODES[choice]}
    return {"functionCallingConfig": config}


def _lost_fields(conversation: Conversation) -> list[str]:
    lost = [
        f"tools[{index}].cache_control"
        for index, tool in enumerate(conversation.tools)
        if tool.cache_control is not None
    ]
    wanted = conversation.response_format
    if wanted is not None and wanted.json_schema is not None and wanted.json_schema.description is not None:
        lost.append("response_format.json_schema.description")
    return lost
