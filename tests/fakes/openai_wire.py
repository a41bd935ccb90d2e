"""Makes replies in the shapes that OpenAI's API sends, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fakes.script import Script, Tokens, Tool

CREATED = 1_760_000_000
FINGERPRINT = "fp_0fake0fake"
_ARGUMENT_PIECE = 7


def usage(tokens: Tokens) -> dict[str, Any]:
    """Return a usage object."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def pieces(script: Script, request: dict[str, Any], lane: str) -> list[str]:
    """Return the reply's text in the pieces it is streamed in."""
    if script.pieces:
        return list(script.pieces)
    text = script.text if script.text is not None else f"{lane} says: {_last_words(request)}"
    return [text[:1], *text[1:].split(" ")[:1], *(f" {word}" for word in text[1:].split(" ")[1:])]


def chat_completion(number: int, script: Script, request: dict[str, Any], lane: str) -> dict[str, Any]:
    """Return a whole chat completion."""
    words = pieces(script, request, lane)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(words),
        "refusal": None,
        "annotations": [],
    }
    if script.reasoning:
        message["reasoning_content"] = "".join(script.reasoning)
    if script.tools:
        message["content"] = None
        message["tool_calls"] = [_tool_call(tool) for tool in script.tools]
    made: dict[str, Any] = {
        "id": f"chatcmpl-fake{number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request.get("model"),
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": _chat_logprobs(words) if request.get("logprobs") else None,
                "finish_reason": _finish(script),
            }
            for index in range(request.get("n") or 1)
        ],
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        **script.extra,
    }
    if script.usage != "none":
        made["usage"] = usage(script.tokens)
    return made


def chat_chunks(number: int, script: Script, request: dict[str, Any], lane: str) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed chat completion."""
    base: dict[str, Any] = {
        "id": f"chatcmpl-fake{number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request.get("model"),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    own_chunk = script.usage == "always" or (script.usage == "asked" and asked)
    last = base | ({"usage": None} if own_chunk else {})
    for index in range(request.get("n") or 1):
        deltas = list(_deltas(script, request, lane))
        for delta in deltas:
            content = delta.get("content")
            logprobs = _chat_logprobs([content]) if request.get("logprobs") and content else None
            yield last | {"choices": [_choice(index, delta, logprobs, None)]} | script.extra
        if script.finish_reason is not None:
            ended = last | {"choices": [_choice(index, {}, None, _finish(script))]} | script.extra
            yield ended | ({"usage": usage(script.tokens)} if script.usage == "last" else {})
    if own_chunk:
        yield base | {"choices": [], "usage": usage(script.tokens)} | script.extra


def completion(number: int, script: Script, request: dict[str, Any], lane: str) -> dict[str, Any]:
    """Return a whole legacy completion: one choice for each prompt, times `n`."""
    words = pieces(script, request, lane)
    made: dict[str, Any] = {
        "id": f"cmpl-fake{number}",
        "object": "text_completion",
        "created": CREATED,
        "model": request.get("model"),
        "choices": [
            {"index": index, "text": "".join(words), "logprobs": None, "finish_reason": _finish(script)}
            for index in range(_legacy_choices(request))
        ],
        **script.extra,
    }
    if request.get("logprobs"):
        for choice in made["choices"]:
            choice["logprobs"] = _legacy_logprobs(words)
    if script.usage != "none":
        made["usage"] = usage(script.tokens)
    return made


def completion_chunks(
    number: int, script: Script, request: dict[str, Any], lane: str
) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed legacy completion."""
    base: dict[str, Any] = {
        "id": f"cmpl-fake{number}",
        "object": "text_completion",
        "created": CREATED,
        "model": request.get("model"),
    }
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    own_chunk = script.usage == "always" or (script.usage == "asked" and asked)
    part = base | ({"usage": None} if own_chunk else {})
    for index in range(_legacy_choices(request)):
        empty: dict[str, Any] = {"index": index, "text": "", "logprobs": None, "finish_reason": None}
        for word in pieces(script, request, lane):
            yield part | {"choices": [empty | {"text": word}]} | script.extra
        if script.finish_reason is not None:
            ended = part | {"choices": [empty | {"finish_reason": _finish(script)}]} | script.extra
            yield ended | ({"usage": usage(script.tokens)} if script.usage == "last" else {})
    if own_chunk:
        yield base | {"choices": [], "usage": usage(script.tokens)} | script.extra


def models(names: tuple[str, ...]) -> dict[str, Any]:
    """Return a list of models."""
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fake"} for name in names]
    return {"object": "list", "data": data}


def _deltas(script: Script, request: dict[str, Any], lane: str) -> Iterator[dict[str, Any]]:
    content = None if script.tools or script.reasoning else ""
    yield {"role": "assistant", "content": content, "refusal": None}
    for thought in script.reasoning:
        yield {"reasoning_content": thought}
    if not script.tools:
        for word in pieces(script, request, lane):
            yield {"content": word}
        return
    for index, tool in enumerate(script.tools):
        opening = _tool_call(tool)
        opening["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index} | opening]}
        for start in range(0, len(tool.arguments), _ARGUMENT_PIECE):
            part = tool.arguments[start : start + _ARGUMENT_PIECE]
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _choice(index: int, delta: dict[str, Any], logprobs: Any, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _finish(script: Script) -> str | None:
    return "tool_calls" if script.tools and script.finish_reason == "stop" else script.finish_reason


def _tool_call(tool: Tool) -> dict[str, Any]:
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}


def _chat_logprobs(words: list[str]) -> dict[str, Any]:
    tokens = [
        {"token": word, "logprob": -0.25, "bytes": list(word.encode()), "top_logprobs": []} for word in words
    ]
    return {"content": tokens, "refusal": None}


def _legacy_logprobs(words: list[str]) -> dict[str, Any]:
    offsets = [len("".join(words[:index])) for index in range(len(words))]
    return {
        "tokens": words,
        "token_logprobs": [-0.25] * len(words),
        "top_logprobs": [{word: -0.25} for word in words],
        "text_offset": offsets,
    }


def _legacy_choices(request: dict[str, Any]) -> int:
    prompt = request.get("prompt")
    # A list of numbers is one prompt in tokens; a list of strings or of lists is many prompts.
    many = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return (len(prompt) if many and isinstance(prompt, list) else 1) * (request.get("n") or 1)


def _last_words(request: dict[str, Any]) -> str:
    messages = request.get("messages") or request.get("input")
    if not isinstance(messages, list) or not messages:
        return str(messages or request.get("prompt"))
    content = messages[-1].get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", f"[{part.get('type')}]") for part in content)
    return str(content)
