"""Turns OpenAI's messages into a system prompt and turns: one voice after the other, results before words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.parts import PROVIDER, Content, block_of, is_blank, text_block, text_of
from llm_gateway.providers.anthropic.thinking import THINKING, own_details, woven
from llm_gateway.wire.openai_chat.conversation import Message, ToolCall

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Spoken(msgspec.Struct):
    """The messages as the API takes them; `ignored_fields` are paths of what it has no word for."""

    system: list[Content] = []
    turns: list[Content] = []
    ignored_fields: list[str] = []

    def add(self, role: str, blocks: list[Content]) -> None:
        """Add blocks to the turn of whoever spoke last, or begin another; blank texts are not sent."""
        told = [block for block in blocks if not is_blank(block)]
        if not told:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += told
        else:
            self.turns.append({"role": role, "content": told})


def speak(messages: Sequence[Message], model: str) -> Spoken:
    """Return the messages in the form that a model of Anthropic's takes; raise BadRequest for what it cannot."""
    spoken = Spoken()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.name is not None and message.role != "tool":
            spoken.ignored_fields.append(f"{path}.name")
        if message.extra_content is not None:
            spoken.ignored_fields.append(f"{path}.extra_content")
        if message.role in {"system", "developer"}:
            blocks = [text_of(part, f"{path}.content[{at}]") for at, part in enumerate(message.parts)]
            spoken.system += [block for block in blocks if not is_blank(block)]
        elif message.role == "assistant":
            spoken.add("assistant", _assistant(message, path, model, spoken.ignored_fields))
        else:
            spoken.add("user", _from_outside(message, path, spoken.ignored_fields))
    if not spoken.turns:
        message_text = "The field 'messages' holds nothing that this model's provider could answer to."
        raise BadRequest(message_text, param="messages", code="unsupported_by_provider")
    for turn in spoken.turns:
        # The results of calls have to stand first, in the turn after the calls.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    _trim_last(spoken.turns[-1])
    return spoken


def _from_outside(message: Message, path: str, ignored_fields: list[str]) -> list[Content]:
    parts = enumerate(message.parts)
    blocks = [block_of(part, f"{path}.content[{at}]", ignored_fields) for at, part in parts]
    if message.role == "user":
        return blocks
    if message.tool_call_id is None:
        text = f"The field '{path}.tool_call_id' is missing: it says which call this is the result of."
        raise BadRequest(text, param=f"{path}.tool_call_id")
    result: Content = {"type": "tool_result", "tool_use_id": _tool_id(message.tool_call_id)}
    told = [block for block in blocks if not is_blank(block)]
    return [{**result, "content": told} if told else result]


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
        # Thinking without its signature would be refused.
        ignored_fields.append(f"{path}.reasoning_content")
    return woven(details, texts, calls)


def _call(call: ToolCall, path: str, ignored_fields: list[str]) -> Content:
    if call.extra_content is not None:
        ignored_fields.append(f"{path}.extra_content")
    arguments = call.function.arguments.strip() or "{}"
    try:
        _decode_object(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        param = f"{path}.function.arguments"
        text = f"The field '{param}' must be a JSON object in a string: {PROVIDER} takes nothing else."
        raise BadRequest(text, param=param) from None
    # As they are, so that no number loses a digit.
    given = msgspec.Raw(arguments.encode())
    return {"type": "tool_use", "id": _tool_id(call.id), "name": call.function.name, "input": given}


def _tool_id(identifier: str) -> str:
    """Return an id that the API takes; those of other providers may hold what it does not."""
    clean = _NOT_IN_IDS.sub("_", identifier)
    return clean if clean == identifier else f"{clean}_{zlib.crc32(identifier.encode()):08x}"


def _trim_last(turn: Content) -> None:
    """Take the white space off the end of words that the model is to go on with: the API refuses it."""
    last: dict[str, Any] = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def called_without_thinking(turns: Sequence[Content]) -> bool:
    """Tell whether the conversation stands among calls, and no thinking went before the first of them."""
    first_call: Content | None = None
    for turn in reversed(turns):
        opening = turn["content"][0]["type"]
        if turn["role"] == "user" and opening != "tool_result":
            break
        if turn["role"] == "assistant":
            first_call = turn
    return first_call is not None and first_call["content"][0]["type"] not in THINKING
