"""Finds the texts to count in the Responses API's input, whole replies and events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_gateway.wire.json_text import json_text

# OpenAI's published overheads of a chat, used here too: for each message, and for the start of the reply.
_PER_MESSAGE = 3
_PER_REPLY = 3
# Of calls: to functions, custom tools, and tools that run at the provider or on the client's machine.
_TEXTS = ("name", "arguments", "input", "code")
_OBJECTS = ("action", "operation", "tools")
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


def input_texts(instructions: object, asked: object) -> tuple[list[str], int]:
    """Return the texts of a request, and the tokens to add for what is not text."""
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else _objects(asked)
    if isinstance(instructions, str):
        items.insert(0, {"role": "system", "content": instructions})
    else:
        items = _objects(instructions) + items
    texts: list[str] = []
    for item in items:
        if isinstance(item.get("role"), str):
            texts.append(item["role"])
        texts += _item_texts(item)
    return texts, _PER_REPLY + _PER_MESSAGE * len(items)


def response_texts(response: object) -> list[str]:
    """Return the texts of a whole response."""
    output = response.get("output") if isinstance(response, dict) else None
    return [text for item in _objects(output) for text in _item_texts(item)]


def event_texts(events: Iterable[object]) -> list[str]:
    """Return the texts of a stream: one for each part of each item, deltas joined.

    The last event holds the whole response; a stream that was cut has only deltas.
    """
    pieces: dict[str, list[str]] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        kind = str(event.get("type"))
        if kind in _LAST and (whole := response_texts(event.get("response"))):
            return whole
        # Audio deltas are base64.
        if kind.endswith(".delta") and kind != "response.audio.delta" and isinstance(event.get("delta"), str):
            place = [kind, *(event.get(f"{name}_index") for name in ("output", "content", "summary"))]
            pieces.setdefault(str(place), []).append(event["delta"])
        elif kind == "response.output_item.added":
            # The name of a call comes in this event, its arguments in deltas.
            item = event.get("item")
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                pieces.setdefault(f"name {event.get('output_index')}", []).append(item["name"])
    return ["".join(parts) for parts in pieces.values()]


def _item_texts(item: dict[str, Any]) -> list[str]:
    """Return the texts of an item: of a message, a call, its result, or of reasoning."""
    texts: list[str] = []
    for field in ("content", "summary", "output"):
        value = item.get(field)
        if isinstance(value, str):
            texts.append(value)
        else:
            said = (part.get("text") or part.get("refusal") for part in _objects(value))
            texts += [text for text in said if isinstance(text, str)]
    texts += [item[field] for field in _TEXTS if isinstance(item.get(field), str)]
    return texts + [json_text(item[field]) for field in _OBJECTS if isinstance(item.get(field), (dict, list))]


def _objects(value: object) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
