"""Bodies of the simulated provider for embeddings and for the Responses API."""

from __future__ import annotations

import base64
import hashlib
import struct
import time
from collections.abc import Iterator
from typing import Any

import msgspec

_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Return one vector per input; equal inputs get equal vectors."""
    given = body.get("input")
    several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    inputs = given if several and isinstance(given, list) else [given]
    dimensions = min(int(body.get("dimensions") or _DIMENSIONS), _MOST_DIMENSIONS)
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(one, dimensions, packed=packed)}
        for index, one in enumerate(inputs)
    ]
    tokens = _tokens(given)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.get("model", ""), "usage": usage}


def response(body: dict[str, Any], words: list[str], *, cut_short: bool) -> dict[str, Any]:
    """Return a unary response with the text `words`; `cut_short` makes it incomplete."""
    prompt = _tokens(body.get("input"))
    part = {"type": "output_text", "text": " ".join(words), "annotations": [], "logprobs": []}
    status = "incomplete" if cut_short else "completed"
    return {
        "id": "resp-simulated",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut_short else None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": body.get("model", ""),
        "output": [
            {
                "id": "msg-simulated", "type": "message", "role": "assistant", "status": status,
                "content": [part],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": len(words),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + len(words),
        },
    }  # fmt: skip


def response_events(whole: dict[str, Any], words: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the stream events of the response `whole`, one delta per word."""
    [item] = whole["output"]
    [part] = item["content"]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opening = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for index, word in enumerate(words):
        delta = word if index == 0 else f" {word}"
        yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


def _tokens(value: object) -> int:
    return len(msgspec.json.encode(value)) // 4 + 1


def _vector(value: object, dimensions: int, *, packed: bool) -> list[float] | str:
    seed = hashlib.shake_256(msgspec.json.encode(value)).digest(dimensions)
    numbers = [byte / 128 - 1 for byte in seed]
    return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if packed else numbers
