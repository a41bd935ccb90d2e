"""Turns a conversation's messages into Gemini's `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.gemini.media import JsonValue, losses, written_part
from llm_gateway.wire.openai_chat.conversation import Message, TextPart, ToolCall
from llm_gateway.wire.raw_json import JsonObject

# What Google documents for calls that another model made: newer models refuse those without any signature.
FOREIGN_SIGNATURE = "skip_thought_signature_validator"


class Contents:
    """What the messages become; `ignored_fields` are the paths of what was lost."""

    def __init__(self, messages: Sequence[Message], *, needs_signatures: bool) -> None:
        """Translate `messages`; raise BadRequest that names the one which cannot be.

        `needs_signatures`: the model refuses a turn of calls that has no thought signature.
        """
        self.contents: list[JsonValue] = []
        self.ignored_fields: list[str] = []
        self._needs_signatures = needs_signatures
        self._system: list[JsonValue] = []
        # The function's name by the id of its call.
        self._called: dict[str, str] = {}
        self._results: list[JsonValue] | None = None
        for index, message in enumerate(messages):
            self._take(message, f"messages[{index}]")
        if not self.contents:
            text = "The field 'messages' needs a message that is not the system's: the provider answers no other."
            raise BadRequest(text, param="messages")

    @property
    def system_instruction(self) -> JsonValue | None:
        """Return what the system and developer messages say, wherever they stood."""
        return {"parts": self._system} if self._system else None

    def _take(self, message: Message, where: str) -> None:
        self._note_losses(message, where)
        if message.role == "tool":
            self._take_result(message, where)
            return
        self._results = None
        if message.role in {"system", "developer"}:
            self._system += _parts(message, where)
        elif message.role == "user":
            self._add("user", _parts(message, where))
        else:
            self._add("model", [*_said(message, where), *self._calls(message, where)])

    def _add(self, role: str, parts: list[JsonValue]) -> None:
        # Gemini refuses a content without parts, and an empty message says nothing.
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
            # The results of one turn's calls stand together.
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        self._results.append({"functionResponse": _result(name, message, where)})

    def _note_losses(self, message: Message, where: str) -> None:
        if message.name is not None:
            self.ignored_fields.append(f"{where}.name")
        if message.reasoning_details:
            self.ignored_fields.append(f"{where}.reasoning_details")
        for index, part in enumerate(message.parts):
            self.ignored_fields += losses(part, f"{where}.content[{index}]")


def _parts(message: Message, where: str) -> list[JsonValue]:
    return [
        written_part(part, f"{where}.content[{index}]")
        for index, part in enumerate(message.parts)
        if not (isinstance(part, TextPart) and not part.text)
    ]


def _said(message: Message, where: str) -> list[JsonValue]:
    """Return what an assistant thought and said, the signature on the last part, as it came."""
    said = _parts(message, where)
    if message.refusal:
        said.append({"text": message.refusal})
    if message.reasoning_content:
        said.insert(0, {"text": message.reasoning_content, "thought": True})
    signature = _signature(message.extra_content)
    if signature is not None:
        said.append(_signed(said.pop() if said else {"text": ""}, signature))
    return said


def _signed(part: JsonValue, signature: str | None) -> JsonValue:
    return part if signature is None else {**part, "thoughtSignature": signature}


def _signature(extra_content: JsonObject | None) -> str | None:
    """Read `extra_content.google.thought_signature`, where Google's own OpenAI endpoint puts it."""
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
        raise BadRequest(f"The field '{where}' must be a JSON object in a string.", param=where)
    return msgspec.Raw(text.encode())


def _result(name: str, message: Message, where: str) -> JsonValue:
    """Return a function's response; JSON stays JSON, any other text is a string under `output`."""
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
