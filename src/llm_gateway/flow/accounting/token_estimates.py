"""Counts the tokens of a request and its reply that the provider did not state: with a tokenizer, else by length."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import NOTHING_STATED, CountSource, StatedUsage, Usage, combined
from llm_gateway.core.ledger.usage_parts import whole_usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.ports.ledger import TokenCounter
from llm_gateway.providers.base import StreamSample
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.loose_json import read_json
from llm_gateway.wire.media_tokens import media_tokens
from llm_gateway.wire.openai_chat.texts import choice_texts, message_texts, prompt_texts, schema_texts
from llm_gateway.wire.openai_responses.texts import event_texts, input_texts, response_texts

_BYTES_PER_TOKEN = 4
# Bytes of JSON that are read at once, in about a millisecond; more are read in a thread.
_READ_AT_ONCE = 64 * 1024
# JSON with more objects, lists and members takes too long to read; its tokens are estimated from its size.
_MAX_ELEMENTS = 200_000

_Read = TypeVar("_Read")
# A number of tokens, and where it comes from.
_Count = tuple[int, CountSource]


@dataclass(frozen=True, slots=True)
class _Prompt:
    """What there is to count in a request."""

    texts: list[str]
    # Tokens to add for what is not text.
    tokens: int = 0
    # Whether nothing of the prompt is unknown, or known only by its size.
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class _TextReader:
    """Finds the texts in one endpoint's requests and replies."""

    # The fields that the prompt is made of, and a function of their values.
    fields: tuple[str, ...]
    prompt: Callable[..., _Prompt]
    # None = replies have no tokens.
    reply: Callable[[object], list[str]] | None
    stream: Callable[[list[Any]], list[str]]


def _whole(reply: object) -> list[str]:
    return choice_texts([reply], "message")


def _streamed(chunks: list[Any]) -> list[str]:
    return choice_texts(chunks, "delta")


def _chat(messages: object, tools: object, functions: object, response_format: object) -> _Prompt:
    texts, overhead = message_texts(messages)
    media = media_tokens(messages)
    texts += schema_texts(tools, functions, response_format)
    return _Prompt(texts, overhead + media, not media)


def _text_prompt(prompt: object, suffix: object = None) -> _Prompt:
    texts, tokens = prompt_texts(prompt)
    return _Prompt([*texts, suffix] if isinstance(suffix, str) else texts, tokens)


def _response(instructions: object, asked: object, tools: object, text: object) -> _Prompt:
    texts, overhead = input_texts(instructions, asked)
    media = media_tokens(asked)
    texts += schema_texts(tools, None, text.get("format") if isinstance(text, dict) else None)
    return _Prompt(texts, overhead + media, not media)


@dataclass(frozen=True, slots=True)
class PromptCount:
    """The tokens of a request's prompt, and where the number comes from.

    `size` is the bytes of JSON that were looked at. Unless it `is_all_text`, the prompt has parts whose tokens only
    the provider knows: images, files, or content that it stores.
    """

    tokens: int
    source: CountSource
    size: int
    is_all_text: bool


_READERS: Mapping[EndpointName, _TextReader] = {
    "chat/completions": _TextReader(
        ("messages", "tools", "functions", "response_format"), _chat, _whole, _streamed
    ),
    "completions": _TextReader(("prompt", "suffix"), _text_prompt, _whole, _streamed),
    "embeddings": _TextReader(("input",), _text_prompt, None, _streamed),
    "responses": _TextReader(
        ("instructions", "input", "tools", "text"), _response, response_texts, event_texts
    ),
}


async def count_whole(
    counter: TokenCounter,
    request: ModelRequest,
    upstream_model: str,
    body: bytes,
    stated: StatedUsage | None = None,
) -> Usage:
    """Return what the provider `stated`; count the rest: a unary request, and every choice of the reply's `body`."""
    read = _READERS[request.endpoint].reply

    async def completion(encoding: str) -> _Count:
        if read is None:
            return 0, "provider"
        if _is_too_much(body):
            return len(body) // _BYTES_PER_TOKEN, "estimated"
        return await _count(counter, encoding, await _off_loop(len(body), lambda: read(_decoded(body))))

    return await _completed(counter, request, upstream_model, stated, completion)


async def count_stream(
    counter: TokenCounter,
    request: ModelRequest,
    upstream_model: str,
    sample: StreamSample,
    stated: StatedUsage | None = None,
) -> Usage:
    """Return what the provider `stated`; count a stream's rest from its sample, extrapolated to its whole size."""
    read = _READERS[request.endpoint].stream

    async def completion(encoding: str) -> _Count:
        texts = await _off_loop(sample.sampled_bytes, lambda: read(_chunks(sample.blocks)))
        seen, source = await _count(counter, encoding, texts)
        unseen = sample.total_bytes - sample.sampled_bytes
        if not unseen:
            return seen, source
        # The share of text in the bytes is nearly constant over a stream.
        extrapolated = (
            round(seen * sample.total_bytes / sample.sampled_bytes) if seen else unseen // _BYTES_PER_TOKEN
        )
        return extrapolated, "estimated"

    return await _completed(counter, request, upstream_model, stated, completion)


def stated_alone(stated: Usage | StatedUsage | None) -> Usage | None:
    """Return what the provider stated, for a request whose tokens could not be counted; None if it is too little."""
    if stated is None or isinstance(stated, Usage):
        return stated
    prompt = stated.prompt_tokens
    if not prompt:
        return None
    return whole_usage(
        Usage(
            prompt,
            0,
            prompt,
            stated.cached_tokens,
            0,
            "provider/estimated",
            stated.cache_write_tokens,
            stated.details,
        )
    )


async def _completed(
    counter: TokenCounter,
    request: ModelRequest,
    upstream_model: str,
    stated: StatedUsage | None,
    count_completion: Callable[[str], Awaitable[_Count]],
) -> Usage:
    """Judge each number by itself: what the provider stated stays, unless it is 0 and there is something to count."""
    stated = stated or NOTHING_STATED
    prompt: _Count = (stated.prompt_tokens or 0, "provider")
    completion: _Count = (stated.completion_tokens or 0, "provider")
    has_completion = _READERS[request.endpoint].reply is not None
    if not (prompt[0] or has_completion):
        # The total of an embedding is its prompt.
        prompt = (stated.total_tokens or 0, "provider")
    encoding = None
    if not prompt[0]:
        encoding = counter.encoding(upstream_model, request.model)
        counted = await count_prompt(counter, request, encoding)
        prompt = _more((counted.tokens, counted.source), stated.prompt_tokens, stated.cached_tokens)
    if not completion[0] and has_completion:
        encoding = encoding or counter.encoding(upstream_model, request.model)
        completion = _more(
            await count_completion(encoding), stated.completion_tokens, stated.reasoning_tokens
        )
    return whole_usage(
        Usage(
            prompt[0],
            completion[0],
            max(stated.total_tokens or 0, prompt[0] + completion[0]),
            stated.cached_tokens,
            stated.reasoning_tokens,
            combined(prompt[1], completion[1] if has_completion else prompt[1]),
            stated.cache_write_tokens,
            stated.details,
        )
    )


def _more(counted: _Count, stated: int | None, part: int) -> _Count:
    """Return a count: the provider's if that is 0 and so is ours, and no less than the `part` that it stated."""
    if counted[0] == 0 == stated and not part:
        return 0, "provider"
    return max(counted[0], part), counted[1]


async def count_prompt(counter: TokenCounter, request: ModelRequest, encoding: str) -> PromptCount:
    """Count a request's prompt with an encoding of `counter`, or estimate it."""
    reader = _READERS[request.endpoint]
    raw = [bytes(request.fields.get(name, b"null")) for name in reader.fields]
    size = sum(map(len, raw))
    if any(map(_is_too_much, raw)):
        return PromptCount(size // _BYTES_PER_TOKEN, "estimated", size, is_all_text=False)
    prompt = await _off_loop(size, lambda: reader.prompt(*map(_decoded, raw)))
    count, source = await _count(counter, encoding, prompt.texts)
    # Content stored at the provider is part of the prompt, but unknown here.
    is_exact = prompt.is_exact and request.stateful_field is None
    return PromptCount(count + prompt.tokens, source if is_exact else "estimated", size, is_all_text=is_exact)


async def _count(counter: TokenCounter, encoding: str, texts: Sequence[str]) -> _Count:
    # Without a text, there is no need to load a vocabulary.
    count = await counter.count(encoding, texts) if any(texts) else 0
    return (_by_length(texts), "estimated") if count is None else (count, "counted")


def _by_length(texts: Sequence[str]) -> int:
    return sum(-(-_size(text) // _BYTES_PER_TOKEN) for text in texts)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _is_too_much(raw: bytes) -> bool:
    """Tell, without parsing, whether JSON has too many elements to be read."""
    if len(raw) <= _READ_AT_ONCE:
        return False
    return raw.count(b"{") + raw.count(b"[") + raw.count(b",") > _MAX_ELEMENTS


async def _off_loop(size: int, read: Callable[[], _Read]) -> _Read:
    """Read what is small at once, and what is large in a thread, so that no other request waits for it."""
    return read() if size <= _READ_AT_ONCE else await asyncio.to_thread(read)


def _decoded(raw: bytes) -> object:
    try:
        return read_json(raw)
    except BadReply:
        return None


def _chunks(blocks: Iterable[bytes]) -> list[Any]:
    chunks = []
    for block in blocks:
        for event in split_events(block):
            data = event_data(event)
            if data is not None and (chunk := _decoded(data)) is not None:
                chunks.append(chunk)
    return chunks
