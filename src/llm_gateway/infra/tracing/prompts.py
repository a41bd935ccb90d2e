"""The prompt of a request in the form of OpenTelemetry's attribute, for operators who ask for it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.model_request import ModelRequest

# Bytes of a field; of a larger one, decoding it would hold up other requests.
LARGEST: Final = 64 * 1024
# The field that holds the prompt, whichever the endpoint has.
_FIELDS: Final = ("messages", "prompt", "input")


def input_messages(request: ModelRequest) -> str | None:
    """Return the prompt's messages as JSON; None if it is too large or has no text."""
    raw = next((request.fields[name] for name in _FIELDS if name in request.fields), None)
    if raw is None or len(bytes(raw)) > LARGEST:
        return None
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    items = value if isinstance(value, list) else [value]
    messages = [message for item in items if (message := _message(item)) is not None]
    return msgspec.json.encode(messages).decode() if messages else None


def _message(item: Any) -> dict[str, Any] | None:  # noqa: ANN401 - parsed JSON
    if isinstance(item, str):
        return {"role": "user", "parts": [{"type": "text", "content": item}]}
    if not isinstance(item, dict):
        return None
    content = item.get("content")
    texts = [content] if isinstance(content, str) else _texts(content)
    if not texts:
        return None
    role = item.get("role")
    parts = [{"type": "text", "content": text} for text in texts]
    return {"role": role if isinstance(role, str) else "user", "parts": parts}


def _texts(content: Any) -> list[str]:  # noqa: ANN401 - parsed JSON
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
