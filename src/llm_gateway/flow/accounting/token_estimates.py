"""Counts the tokens of an exchange whose provider did not: with a tokenizer, else by length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.accounting.response_texts import event_texts, input_texts, response_texts
from llm_gateway.flow.ports.ledger import TokenCounter
from llm_gateway.providers.base import StreamSample

# OpenAI's published overheads of a chat: for each message, for a name, and for the start of the reply.
_PER_MESSAGE = 3
_PER_NAME = 1
_PER_REPLY = 3
_BYTES_PER_TOKEN = 4

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


async def count_whole(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, body: bytes
) -> Usage:
    """Count a unary exchange: the request and every choice of the reply's `body`."""
    try:
        reply = msgspec.json.decode(body)
    except _UNREADABLE:
        reply = {}
    texts = response_texts(reply) if request.endpoint == "responses" else _choice_texts([reply], "message")
    return await _count(counter, request, upstream_model, texts)


async def count_stream(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, kept: StreamSample
) -> Usage:
    """Count a stream from the part of it that was kept; beyond that part, in proportion."""
    unseen = kept.total_bytes - kept.kept_bytes
    chunks = _chunks(kept.blocks)
    texts = event_texts(chunks) if request.endpoint == "responses" else _choice_texts(chunks, "delta")
    usage = await _count(counter, request, upstream_model, texts)
    if not unseen:
        return usage
    seen = usage.completion_tokens
    # Text in large events is nearly all that they are; in small ones it is a part that stays the same.
    completion = round(seen * kept.total_bytes / kept.kept_bytes) if seen else unseen // _BYTES_PER_TOKEN
    total = usage.prompt_tokens + completion
    return msgspec.structs.replace(
        usage, completion_tokens=completion, total_tokens=total, source="estimated"
    )


async def _count(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, reply: list[str]
) -> Usage:
    encoding = counter.encoding(upstream_model, request.model)
    prompt_texts, overhead = _prompt(request)
    prompt = await counter.count(encoding, prompt_texts)
    completion = await counter.count(encoding, reply)
    # What a provider keeps is a part of the prompt that nobody here has seen.
    counted = prompt is not None and completion is not None and request.stateful_field is None
    prompt = _by_length(prompt_texts) if prompt is None else prompt
    completion = _by_length(reply) if completion is None else completion
    prompt += overhead
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        source="counted" if counted else "estimated",
    )


def _by_length(texts: Sequence[str]) -> int:
    return sum(-(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN) for text in texts)


def _prompt(request: ModelRequest) -> tuple[list[str], int]:
    """Return the prompt's texts and the tokens to add for what is not text."""
    if request.endpoint == "responses":
        return input_texts(_field(request, "instructions"), _field(request, "input"))
    if request.endpoint == "chat/completions":
        return _messages(_field(request, "messages"))
    return _texts_or_tokens(_field(request, "input" if request.endpoint == "embeddings" else "prompt"))


def _field(request: ModelRequest, name: str) -> object:
    try:
        return msgspec.json.decode(request.fields.get(name, b"null"))
    except _UNREADABLE:
        return None


def _messages(messages: object) -> tuple[list[str], int]:
    texts: list[str] = []
    overhead = _PER_REPLY
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        overhead += _PER_MESSAGE
        if isinstance(message.get("name"), str):
            overhead += _PER_NAME
            texts.append(message["name"])
        if isinstance(message.get("role"), str):
            texts.append(message["role"])
        texts += _texts(message)
    return texts, overhead


def _texts_or_tokens(prompt: object) -> tuple[list[str], int]:
    """Read a text, several, one in tokens or several in tokens: completions and embeddings take all of these."""
    if isinstance(prompt, str):
        return [prompt], 0
    texts: list[str] = []
    tokens = 0
    for part in prompt if isinstance(prompt, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            tokens += len(part)
        elif isinstance(part, int):
            tokens += 1
    return texts, tokens


def _chunks(blocks: Iterable[bytes]) -> list[Any]:
    chunks = []
    for block in blocks:
        for event in split_events(block):
            data = event_data(event)
            if data is None:
                continue
            try:
                chunks.append(msgspec.json.decode(data))
            except _UNREADABLE:
                continue
    return chunks


def _choice_texts(replies: Iterable[object], part: str) -> list[str]:
    """Return one text for each choice and each kind of text in it, pieces joined."""
    pieces: dict[tuple[object, int], list[str]] = {}
    for reply in replies:
        choices = reply.get("choices") if isinstance(reply, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            message = choice.get(part)
            texts = _texts(message) if isinstance(message, dict) else []
            if isinstance(choice.get("text"), str):
                texts.append(choice["text"])
            for position, text in enumerate(texts):
                pieces.setdefault((str(choice.get("index")), position), []).append(text)
    return ["".join(parts) for parts in pieces.values()]


def _texts(message: dict[str, Any]) -> list[str]:
    """Return what a message, or a piece of one, says: always in the same order, "" where it says nothing."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    said = [content, message.get("reasoning_content") or message.get("reasoning"), message.get("refusal")]
    calls = message.get("tool_calls")
    functions = (
        [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    )
    for function in (*functions, message.get("function_call")):
        if isinstance(function, dict):
            said += [function.get("name"), function.get("arguments")]
    return [text if isinstance(text, str) else "" for text in said]
