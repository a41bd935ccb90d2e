"""Counts the tokens of a request and its reply if the provider did not: with a tokenizer, else by length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.ports.ledger import TokenCounter
from llm_gateway.providers.base import StreamSample
from llm_gateway.wire.openai_chat.texts import choice_texts, message_texts, prompt_texts
from llm_gateway.wire.openai_responses.texts import event_texts, input_texts, response_texts

_BYTES_PER_TOKEN = 4

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class _TextReader:
    """Finds the texts in one endpoint's requests and replies."""

    # Returns the texts, and the tokens to add for what is not text.
    prompt: Callable[[ModelRequest], tuple[list[str], int]]
    reply: Callable[[object], list[str]]
    stream: Callable[[list[Any]], list[str]]


def _field(request: ModelRequest, name: str) -> object:
    try:
        return msgspec.json.decode(request.fields.get(name, b"null"))
    except _UNREADABLE:
        return None


def _whole(reply: object) -> list[str]:
    return choice_texts([reply], "message")


def _streamed(chunks: list[Any]) -> list[str]:
    return choice_texts(chunks, "delta")


_READERS: Mapping[EndpointName, _TextReader] = {
    "chat/completions": _TextReader(
        lambda asked: message_texts(_field(asked, "messages")), _whole, _streamed
    ),
    "completions": _TextReader(lambda asked: prompt_texts(_field(asked, "prompt")), _whole, _streamed),
    "embeddings": _TextReader(lambda asked: prompt_texts(_field(asked, "input")), _whole, _streamed),
    "responses": _TextReader(
        lambda asked: input_texts(_field(asked, "instructions"), _field(asked, "input")),
        response_texts,
        event_texts,
    ),
}


async def count_whole(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, body: bytes
) -> Usage:
    """Count a unary request and every choice of the reply's `body`."""
    try:
        reply = msgspec.json.decode(body)
    except _UNREADABLE:
        reply = {}
    texts = _READERS[request.endpoint].reply(reply)
    return await _count(counter, request, upstream_model, texts)


async def count_stream(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, sample: StreamSample
) -> Usage:
    """Count a stream from its sample; extrapolate to its whole size."""
    unseen = sample.total_bytes - sample.sampled_bytes
    chunks = _chunks(sample.blocks)
    texts = _READERS[request.endpoint].stream(chunks)
    usage = await _count(counter, request, upstream_model, texts)
    if not unseen:
        return usage
    seen = usage.completion_tokens
    # The share of text in the bytes is nearly constant over a stream.
    completion = (
        round(seen * sample.total_bytes / sample.sampled_bytes) if seen else unseen // _BYTES_PER_TOKEN
    )
    total = usage.prompt_tokens + completion
    return msgspec.structs.replace(
        usage, completion_tokens=completion, total_tokens=total, source="estimated"
    )


async def _count(
    counter: TokenCounter, request: ModelRequest, upstream_model: str, reply: list[str]
) -> Usage:
    encoding = counter.encoding(upstream_model, request.model)
    asked, overhead = _READERS[request.endpoint].prompt(request)
    prompt = await counter.count(encoding, asked)
    completion = await counter.count(encoding, reply)
    # Content stored at the provider is part of the prompt, but unknown here.
    counted = prompt is not None and completion is not None and request.stateful_field is None
    prompt = _by_length(asked) if prompt is None else prompt
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
