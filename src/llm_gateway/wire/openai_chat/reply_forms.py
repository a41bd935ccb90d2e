"""A whole chat or completion as the chunks of a stream, and the chunks of a stream as a whole reply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_gateway.wire.loose_json import write_json

# Fields of a delta that are repeated or replaced by later chunks, where other texts continue.
_REPEATED = frozenset(
    {"role", "type", "id", "name", "format", "finish_reason", "native_finish_reason", "stop_reason"}
)
_OBJECTS = {True: ("chat.completion", "chat.completion.chunk"), False: ("text_completion", "text_completion")}


def as_chunks(reply: dict[str, Any], *, is_chat: bool) -> bytes:
    """Return a whole reply as one event, with its usage as another. `choices` is a list of objects."""
    shared = {**reply, "object": _OBJECTS[is_chat][1]}
    usage = shared.pop("usage", None)
    choices = [_chunk_choice(choice) if is_chat else choice for choice in reply["choices"]]
    events = _event({**shared, "choices": choices})
    return events if usage is None else events + _event({**shared, "choices": [], "usage": usage})


def as_whole(chunks: Iterable[dict[str, Any]], *, is_chat: bool) -> dict[str, Any]:
    """Join the chunks of a complete stream to a whole reply. May raise RecursionError."""
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name != "choices" and (value is not None or name not in reply):
                reply[name] = value
        for place, choice in enumerate(_objects(chunk.get("choices"))):
            index = choice.get("index")
            _join(choices.setdefault(index if type(index) is int else place, {}), choice)
    reply["object"] = _OBJECTS[is_chat][0]
    reply["choices"] = [
        _whole_choice(index, _settled(choices[index]), is_chat=is_chat) for index in sorted(choices)
    ]
    return reply


def has_message(value: object) -> bool:
    """Tell whether a decoded chunk is a whole reply of a chat."""
    return _has(value, "message", without="delta")


def has_delta(value: object) -> bool:
    """Tell whether a decoded reply of a chat is a chunk."""
    return _has(value, "delta", without="message")


def _has(value: object, part: str, *, without: str) -> bool:
    choices = _objects(value.get("choices")) if isinstance(value, dict) else []
    return bool(choices) and all(
        isinstance(choice.get(part), dict) and not choice.get(without) for choice in choices
    )


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + write_json(chunk) + b"\n\n"


def _chunk_choice(choice: dict[str, Any]) -> dict[str, Any]:
    choice = dict(choice)
    delta = choice.pop("message", None) or {}
    if isinstance(delta, dict) and isinstance(calls := delta.get("tool_calls"), list):
        # Clients of a stream join the pieces of a call by its index.
        numbered = [
            {"index": index, **call} if isinstance(call, dict) else call for index, call in enumerate(calls)
        ]
        delta = {**delta, "tool_calls": numbered}
    return {**choice, "delta": delta}


def _whole_choice(index: int, choice: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    whole = {**choice, "index": index, "finish_reason": choice.get("finish_reason")}
    if not is_chat:
        return {**whole, "text": whole.get("text") or ""}
    delta = whole.pop("delta", None) or {}
    message = {"role": "assistant", "content": None, **delta}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"}
            if isinstance(call, dict)
            else call
            for call in calls
        ]
    return {**whole, "message": message}


class _Items:
    """A list in pieces: items with the same `index` are pieces of one, others follow."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def add(self, more: list[Any]) -> None:
        for item in more:
            if not isinstance(item, dict):
                self.items.append(item)
                continue
            index = item.get("index")
            whole = self._by_index.get(index) if type(index) is int else None
            if whole is None:
                whole = {}
                self.items.append(whole)
                if type(index) is int:
                    self._by_index[index] = whole
            _join(whole, item)


class _Text:
    """A text in pieces."""

    def __init__(self) -> None:
        self.pieces: list[str] = []


def _join(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add the fields of `piece` to `whole`: texts continue, objects and lists are joined, other values replace."""
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str) and name not in _REPEATED:
            if not isinstance(before, _Text):
                before = whole[name] = _Text()
            before.pieces.append(value)
        elif isinstance(value, dict):
            if not isinstance(before, dict):
                before = whole[name] = {}
            _join(before, value)
        elif isinstance(value, list):
            if not isinstance(before, _Items):
                before = whole[name] = _Items()
            before.add(value)
        elif value != "" or before is None:
            whole[name] = value


def _settled(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a value without its pieces."""
    if isinstance(value, _Text):
        return "".join(value.pieces)
    if isinstance(value, _Items):
        return [_settled(item) for item in value.items]
    if isinstance(value, dict):
        return {name: _settled(field) for name, field in value.items()}
    return value


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
