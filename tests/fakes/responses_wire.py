"""Makes responses and embeddings in the shapes that OpenAI's API sends, as plain values."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

from tests.fakes.openai_wire import CREATED, pieces
from tests.fakes.script import Script, Tokens, Tool

VECTOR = (0.5, -0.25, 0.125)
_ARGUMENT_PIECE = 7
_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


def usage(tokens: Tokens) -> dict[str, Any]:
    """Return a response's usage object."""
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.completion,
    }


def embedding_list(number: int, script: Script, request: dict[str, Any], lane: str) -> dict[str, Any]:
    """Return one vector for each input."""
    given = request.get("input")
    count = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    packed = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    vector = packed if request.get("encoding_format") == "base64" else list(VECTOR)
    made: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "model": request.get("model"),
        **script.extra,
    }
    if script.usage != "none":
        made["usage"] = {"prompt_tokens": script.tokens.prompt, "total_tokens": script.tokens.prompt}
    return made


def response(number: int, script: Script, request: dict[str, Any], lane: str) -> dict[str, Any]:
    """Return a whole response: reasoning, then calls of tools or a message."""
    status = {"stop": "completed", "length": "incomplete"}[script.finish_reason or "stop"]
    return {
        **_frame(number, request, status),
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "output": _items(number, script, request, lane),
        "usage": usage(script.tokens) if script.usage != "none" else None,
        **script.extra,
    }


def response_events(
    number: int, script: Script, request: dict[str, Any], lane: str
) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed response, numbered."""
    for index, event in enumerate(_events(number, script, request, lane)):
        yield {**event, "sequence_number": index}


def _events(number: int, script: Script, request: dict[str, Any], lane: str) -> Iterator[dict[str, Any]]:
    begun = {**_frame(number, request, "in_progress"), "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(_items(number, script, request, lane)):
        place = {"item_id": item["id"], "output_index": index}
        tell = {"message": _message, "reasoning": _thought, "function_call": _call}[item["type"]]
        opening = item | {"status": "in_progress"} | _EMPTY[item["type"]]
        yield {"type": "response.output_item.added", "output_index": index, "item": opening}
        yield from tell(item, place, pieces(script, request, lane))
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    if script.finish_reason is not None:
        whole = response(number, script, request, lane)
        yield {"type": f"response.{whole['status']}", "response": whole}


def _frame(number: int, request: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "id": f"resp_fake{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": request.get("model"),
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": request.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
    }


def _items(number: int, script: Script, request: dict[str, Any], lane: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if script.reasoning:
        summary = [{"type": "summary_text", "text": "".join(script.reasoning)}]
        items.append({"id": f"rs_fake{number}", "type": "reasoning", "summary": summary})
    items += [_tool_item(tool) for tool in script.tools]
    if not script.tools:
        text = "".join(pieces(script, request, lane))
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_fake{number}", "type": "message", "role": "assistant", "content": [part]}
        items.append(message | {"status": "completed"})
    return items


def _tool_item(tool: Tool) -> dict[str, Any]:
    return {
        "id": f"fc_{tool.id}",
        "type": "function_call",
        "call_id": tool.id,
        "name": tool.name,
        "arguments": tool.arguments,
        "status": "completed",
    }


def _message(item: dict[str, Any], place: dict[str, Any], words: list[str]) -> Iterator[dict[str, Any]]:
    [part] = item["content"]
    place = place | {"content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for word in words:
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _thought(item: dict[str, Any], place: dict[str, Any], words: list[str]) -> Iterator[dict[str, Any]]:
    [part] = item["summary"]
    place = place | {"summary_index": 0}
    yield {"type": "response.reasoning_summary_part.added", **place, "part": part | {"text": ""}}
    yield {"type": "response.reasoning_summary_text.delta", **place, "delta": part["text"]}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _call(item: dict[str, Any], place: dict[str, Any], words: list[str]) -> Iterator[dict[str, Any]]:
    arguments = item["arguments"]
    for start in range(0, len(arguments), _ARGUMENT_PIECE):
        part = arguments[start : start + _ARGUMENT_PIECE]
        yield {"type": "response.function_call_arguments.delta", **place, "delta": part}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments}
