"""Turns a conversation's messages into Gemini's `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.gemini.media import JsonValue, lost_fields, written_part
from llm_gateway.providers.gemini.names import gemini_name
from llm_gateway.wire.openai_chat.conversation import Message, TextPart, ToolCall
from llm_gateway.wire.raw_json import JsonObject, is_json

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
        # The function's name and the place for the result, by call id.
        self._called: dict[str, tuple[str, list[JsonValue]]] = {}
        # The content of the last model turn and the results of its calls; None after another message.
        self._turn: tuple[list[JsonValue], list[JsonValue]] | None = None
        for index, message in enumerate(messages):
            self._take(message, f"messages[{index}]")
        self.contents = [content for content in self.contents if content["parts"]]
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
        if message.role in {"system", "developer"}:
            self._system += _parts(message, where)
        elif message.role == "user":
            # Gemini rejects a content without parts; an empty message can be dropped.
            if parts := _parts(message, where):
                self.contents.append({"role": "user", "parts": parts})
                self._turn = None
        else:
            self._add_model(message, where)

    def _add_model(self, message: Message, where: str) -> None:
        """Add an assistant's message to the last turn, or begin one, with the results of its calls behind it.

        Gemini rejects calls that follow another content of the model, and results that do not follow their calls.
        """
        if self._turn is None:
            self._turn = ([], [])
            self.contents += [
                {"role": role, "parts": self._turn[at]} for at, role in enumerate(("model", "user"))
            ]
        parts, results = self._turn
        parts += _assistant_parts(message, where)
        parts += self._calls(message, where, results)

    def _calls(self, message: Message, where: str, results: list[JsonValue]) -> Iterator[JsonValue]:
        calls = message.tool_calls or ()
        signatures = [_signature(call.extra_content) for call in calls]
        if calls and self._needs_signatures and not any(signatures):
            signatures[0] = FOREIGN_SIGNATURE
        for index, (call, signature) in enumerate(zip(calls, signatures, strict=True)):
            name = gemini_name(call.function.name)
            self._called[call.id] = (name, results)
            args = _arguments(call, f"{where}.tool_calls[{index}].function.arguments")
            part = {"functionCall": {"id": call.id, "name": name, "args": args}}
            yield _signed(part, signature)

    def _take_result(self, message: Message, where: str) -> None:
        called = self._called.get(message.tool_call_id or "")
        if called is None:
            path = f"{where}.tool_call_id"
            text = (
                f"The field '{path}' must be the id of a tool call in an earlier message: the provider needs the "
                "name of the function that was called."
            )
            raise BadRequest(text, param=path)
        name, results = called
        results.append({"functionResponse": _result(name, message, where)})
        if self._turn is not None and results is self._turn[1]:
            self._turn = None

    def _note_lost_fields(self, message: Message, where: str) -> None:
        if message.name is not None:
            self.ignored_fields.append(f"{where}.name")
        if message.cache_control is not None:
            self.ignored_fields.append(f"{where}.cache_control")
        for index, call in enumerate(message.tool_calls or ()):
            if call.cache_control is not None:
                self.ignored_fields.append(f"{where}.tool_calls[{index}].cache_control")
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
    if not is_json(text, "{"):
        raise BadRequest(f"The field '{where}' must be a string that contains a JSON object.", param=where)
    return msgspec.Raw(text.encode())


def _result(name: str, message: Message, where: str) -> JsonValue:
    """Return a function's response: `output` is a JSON object or list if the text is one, else a string."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    text = "".join(texts)
    output: Any = msgspec.Raw(text.encode()) if is_json(text, "{[") else text
    response: JsonValue = {"id": message.tool_call_id, "name": name, "response": {"output": output}}
    media = [
        written_part(part, f"{where}.content[{index}]")
        for index, part in enumerate(message.parts)
        if not isinstance(part, TextPart)
    ]
    return {**response, "parts": media} if media else response
