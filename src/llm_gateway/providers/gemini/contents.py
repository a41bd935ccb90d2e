"""Turns a conversation's messages into Gemini's `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.gemini.media import JsonValue, lost_fields, written_part
from llm_gateway.wire.openai_chat.conversation import Message, TextPart, ToolCall
from llm_gateway.wire.raw_json import JsonObject

# Google documents this value for calls made by another model: Gemini 3 and later reject calls without a signature.
FOREIGN_SIGNATURE = "skip_thought_signature_validator"


class Contents:
    """The translated messages; `ignored_fields` are the paths of the fields that Gemini has no counterpart for."""

    def __init__(self, messages: Sequence[Message], *, needs_signatures: bool) -> None:
        """Translate `messages`; raise BadRequest with the path of a message that cannot be translated.

        `needs_signatures` says that the model rejects a turn with calls but no thought signature.
        """
        self.contents: list[JsonValue] = []
        self.ignored_fields: list[str] = []
        self._needs_signatures = needs_signatures
        self._system: list[JsonValue] = []
        # Function names by call id.
        self._called: dict[str, str] = {}
        self._results: list[JsonValue] | None = None
        for index, message in enumerate(messages):
            self._take(message, f"messages[{index}]")
        if not self.contents:
            text = "The field 'messages' must contain a message that is not a system or developer message."
            raise BadRequest(text, param="messages")

    @property
    def system_instruction(self) -> JsonValue | None:
        """Return the text of all system and developer messages, in their order; None without any."""
        return {"parts": self._system} if self._system else None

    def _take(self, message: Message, where: str) -> None:
        self._note_lost_fields(message, where)
        if message.role == "tool":
            self._take_result(message, where)
            return
        self._results = None
        if message.role in {"system", "developer"}:
            self._system += _parts(message, where)
        elif message.role == "user":
            self._add("user", _parts(message, where))
        else:
            self._add("model", [*_assistant_parts(message, where), *self._calls(message, where)])

    def _add(self, role: str, parts: list[JsonValue]) -> None:
        # Gemini rejects a content without parts; an empty message can be dropped.
        if parts:
            self.contents.append({"role": role, "parts": parts})

    def _calls(self, message: Message, where: str) -> Iterator[JsonValue]:
        calls = message.tool_calls or ()
        signatures = [_signature(call.extra_content) for call in calls]
        if calls and self._needs_signatures and not any(signatures):
            signatures[0] = FOREIGN_SIGNATURE
        for index, (call, signature) in enumerate(zip(calls, signatures, strict=True)):
            self._called[call.id] = call.function.name
            args = _arguments(call, f"{where}.tool_calls[{index}].function.arguments")
            part = {"functionCall": {"id": call.id, "name": call.function.name, "args": args}}
            yield _signed(part, signature)

    def _take_result(self, message: Message, where: str) -> None:
        name = self._called.get(message.tool_call_id or "")
        if name is None:
            path = f"{where}.tool_call_id"
            text = (
                f"The field '{path}' must be the id of a tool call in an earlier message: the provider needs the "
                "name of the function that was called."
            )
            raise BadRequest(text, param=path)
        if self._results is None:
            # Gemini expects the results of one turn's calls in one content.
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        self._results.append({"functionResponse": _result(name, message, where)})

    def _note_lost_fields(self, message: Message, where: str) -> None:
        if message.name is not None:
            self.ignored_fields.append(f"{where}.name")
        if message.reasoning_details:
            self.ignored_fields.append(f"{where}.reasoning_details")
        for index, part in enumerate(message.parts):
            self.ignored_fields += lost_fields(part, f"{where}.content[{index}]")


def _parts(message: Message, where: str) -> list[JsonValue]:
    return [
        written_part(part, f"{where}.content[{index}]")
        for index, part in enumerate(message.parts)
        if not (isinstance(part, TextPart) and not part.text)
    ]


def _assistant_parts(message: Message, where: str) -> list[JsonValue]:
    """Return an assistant's reasoning and text; the thought signature goes on the last part, where Gemini put it."""
    parts = _parts(message, where)
    if message.refusal:
        parts.append({"text": message.refusal})
    if message.reasoning_content:
        parts.insert(0, {"text": message.reasoning_content, "thought": True})
    signature = _signature(message.extra_content)
    if signature is not None:
        parts.append(_signed(parts.pop() if parts else {"text": ""}, signature))
    return parts


def _signed(part: JsonValue, signature: str | None) -> JsonValue:
    return part if signature is None else {**part, "thoughtSignature": signature}


def _signature(extra_content: JsonObject | None) -> str | None:
    """Return `extra_content.google.thought_signature`, the place that Google's own OpenAI endpoint uses."""
    google = (extra_content or {}).get("google")
    try:
        return msgspec.json.decode(google, type=_Google).thought_signature if google is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Google(msgspec.Struct):
    thought_signature: str | None = None


def _arguments(call: ToolCall, where: str) -> msgspec.Raw:
    text = call.function.arguments.strip() or "{}"
    if not _is_json(text, dict):
        raise BadRequest(f"The field '{where}' must be a string that contains a JSON object.", param=where)
    return msgspec.Raw(text.encode())


def _result(name: str, message: Message, where: str) -> JsonValue:
    """Return a function's response: `output` is a JSON object or list if the text is one, else a string."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    text = "".join(texts)
    output: Any = msgspec.Raw(text.encode()) if _is_json(text, dict | list) else text
    response: JsonValue = {"id": message.tool_call_id, "name": name, "response": {"output": output}}
    media = [
        written_part(part, f"{where}.content[{index}]")
        for index, part in enumerate(message.parts)
        if not isinstance(part, TextPart)
    ]
    return {**response, "parts": media} if media else response


def _is_json(text: str, wanted: Any) -> bool:  # noqa: ANN401 - a type, or a union of them
    try:
        msgspec.json.decode(text, type=wanted)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
