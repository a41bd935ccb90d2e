"""Translates OpenAI's messages to Anthropic's system prompt and alternating turns."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.parts import PROVIDER, Content, block_of, is_blank, text_block, text_of
from llm_gateway.providers.anthropic.thinking import THINKING, interleave, own_details
from llm_gateway.wire.openai_chat.conversation import Message, ToolCall
from llm_gateway.wire.raw_json import JsonObject, is_json

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


class EncodedMessages(msgspec.Struct):
    """The translated messages; `ignored_fields` are paths of fields that the API does not have."""

    system: list[Content] = []
    turns: list[Content] = []
    ignored_fields: list[str] = []
    # By a call's id, the place of its turn in `turns`.
    called: dict[str, int] = {}

    def add(self, role: str, blocks: list[Content]) -> None:
        """Append blocks to the last turn if it has this role, else start a turn.

        Results of calls are added to the turn that follows the calls: the API rejects them anywhere else.
        """
        if not blocks:
            return
        called = self.called.get(blocks[0].get("tool_use_id", ""), len(self.turns))
        if called + 1 < len(self.turns):
            self.turns[called + 1]["content"] += blocks
        elif self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": role, "content": blocks})
        for block in blocks:
            if block["type"] == "tool_use":
                self.called[block["id"]] = len(self.turns) - 1

    def sendable(self, message: Message, path: str, blocks: list[Content]) -> list[Content]:
        """Return a message's blocks without blank texts, and with its `cache_control` on the last one.

        The API has it on blocks only, and not on thinking. Clients also put it on the message and on its calls.
        """
        not_blank = [block for block in blocks if not is_blank(block)]
        control = _cache_control(message)
        if control is None and len(not_blank) < len(blocks):
            control = next((block["cache_control"] for block in blocks if _marks_blank(block)), None)
        if control is not None:
            last = next((block for block in reversed(not_blank) if block["type"] not in THINKING), None)
            if last is None:
                self.ignored_fields.append(f"{path}.cache_control")
            else:
                last.setdefault("cache_control", control)
        return not_blank


def encode_messages(messages: Sequence[Message], model: str) -> EncodedMessages:
    """Translate messages for the model `model`; raise BadRequest for content that Anthropic does not support."""
    encoded = EncodedMessages()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.name is not None and message.role != "tool":
            encoded.ignored_fields.append(f"{path}.name")
        if message.extra_content is not None:
            encoded.ignored_fields.append(f"{path}.extra_content")
        if message.role in {"system", "developer"}:
            blocks = [text_of(part, f"{path}.content[{at}]") for at, part in enumerate(message.parts)]
            encoded.system += encoded.sendable(message, path, blocks)
        elif message.role == "assistant":
            blocks = _assistant(message, path, model, encoded.ignored_fields)
            encoded.add("assistant", encoded.sendable(message, path, blocks))
        else:
            blocks = _user_or_tool(message, path, encoded.ignored_fields)
            encoded.add("user", encoded.sendable(message, path, blocks))
    if not encoded.turns:
        message_text = "The field 'messages' needs a user, assistant or tool message that is not blank."
        raise BadRequest(message_text, param="messages", code="unsupported_by_provider")
    for turn in encoded.turns:
        # The API requires tool results to come first in the turn that follows the calls.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    _trim_last(encoded.turns[-1])
    return encoded


def _cache_control(message: Message) -> JsonObject | None:
    """Return the `cache_control` of a message, or else that of its last call that has one."""
    if message.cache_control is not None:
        return message.cache_control
    calls = reversed(message.tool_calls or ())
    return next((call.cache_control for call in calls if call.cache_control is not None), None)


def _marks_blank(block: Content) -> bool:
    return is_blank(block) and "cache_control" in block


def _user_or_tool(message: Message, path: str, ignored_fields: list[str]) -> list[Content]:
    parts = enumerate(message.parts)
    blocks = [block_of(part, f"{path}.content[{at}]", ignored_fields) for at, part in parts]
    if message.role == "user":
        return blocks
    if message.tool_call_id is None:
        text = f"The field '{path}.tool_call_id' is missing; it names the call that this message answers."
        raise BadRequest(text, param=f"{path}.tool_call_id")
    result: Content = {"type": "tool_result", "tool_use_id": _tool_id(message.tool_call_id)}
    not_blank = [block for block in blocks if not is_blank(block)]
    return [{**result, "content": not_blank} if not_blank else result]


def _assistant(message: Message, path: str, model: str, ignored_fields: list[str]) -> list[Content]:
    texts = [text_of(part, f"{path}.content[{at}]") for at, part in enumerate(message.parts)]
    if message.refusal:
        texts.append(text_block(message.refusal))
    calls = [
        _call(call, f"{path}.tool_calls[{at}]", ignored_fields)
        for at, call in enumerate(message.tool_calls or ())
    ]
    details = own_details(message.reasoning_details or (), model)
    if len(details) < len(message.reasoning_details or ()):
        ignored_fields.append(f"{path}.reasoning_details")
    if message.reasoning_content and not details:
        # The API rejects thinking without a signature.
        ignored_fields.append(f"{path}.reasoning_content")
    return interleave(details, texts, calls)


def _call(call: ToolCall, path: str, ignored_fields: list[str]) -> Content:
    if call.extra_content is not None:
        ignored_fields.append(f"{path}.extra_content")
    arguments = call.function.arguments.strip() or "{}"
    if not is_json(arguments, "{"):
        param = f"{path}.function.arguments"
        text = f"The field '{param}' must be a string that holds a JSON object; {PROVIDER} requires one."
        raise BadRequest(text, param=param)
    # Sent as raw JSON, so that large numbers keep all their digits.
    given = msgspec.Raw(arguments.encode())
    return {"type": "tool_use", "id": _tool_id(call.id), "name": call.function.name, "input": given}


def _tool_id(identifier: str) -> str:
    """Replace characters that the API does not allow in an id; a checksum keeps different ids different."""
    clean = _NOT_IN_IDS.sub("_", identifier)
    return clean if clean == identifier else f"{clean}_{zlib.crc32(identifier.encode()):08x}"


def _trim_last(turn: Content) -> None:
    """Strip trailing white space of a text that the model has to continue; the API rejects it."""
    last: dict[str, Any] = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def called_without_thinking(turns: Sequence[Content]) -> bool:
    """Tell whether the last tool loop began without thinking; False if the conversation is not in a tool loop."""
    first_call: Content | None = None
    for turn in reversed(turns):
        opening = turn["content"][0]["type"]
        if turn["role"] == "user" and opening != "tool_result":
            break
        if turn["role"] == "assistant":
            first_call = turn
    return first_call is not None and first_call["content"][0]["type"] not in THINKING
