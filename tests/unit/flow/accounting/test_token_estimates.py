"""Token counts of replies without usage: counted when the whole text is known, else estimated, never zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.token_estimates import count_stream, count_whole
from llm_gateway.providers.base import ReplyStream, StreamSample
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_response
from tests.fakes.in_memory import WordCounter
from tests.fakes.openai_requests import model_request

LIMIT = 64 * 1024 * 1024


StreamCase = tuple[ReplyStream, ModelRequest]


def chat() -> StreamCase:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    asked = parse_chat(msgspec.json.encode(body))
    return ChatStream(asked, event_limit=LIMIT), asked


def responses() -> StreamCase:
    body = {"model": "m", "input": "hi", "stream": True}
    return ResponsesStream(event_limit=LIMIT), parse_response(msgspec.json.encode(body))


def event(reader: ReplyStream, text: str) -> bytes:
    if isinstance(reader, ResponsesStream):
        data: dict[str, object] = {"type": "response.output_text.delta", "delta": text}
    else:
        data = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


@pytest.mark.parametrize("make", [chat, responses])
@pytest.mark.parametrize(
    ("texts", "at_least", "source"),
    [
        (["one ", "two"], 2, "counted"),
        # Longer than the sample: extrapolated from it.
        (["word " * 100] * 2000, 150_000, "estimated"),
        # The sample is empty: estimated from the size.
        (["q" * 1_000_000], 200_000, "estimated"),
        (["", "q" * 1_000_000], 200_000, "estimated"),
    ],
)
async def test_a_stream_is_counted_or_estimated_but_never_zero(
    make: Callable[[], StreamCase], texts: list[str], at_least: int, source: str
) -> None:
    reader, request = make()
    for text in texts:
        reader.feed(event(reader, text))
    usage = await count_stream(WordCounter(), request, "m", reader.sample())
    assert at_least <= usage.completion_tokens <= at_least * 2
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.source == source


class NoTokenizer(WordCounter):
    """A counter whose tokenizer is missing."""

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        return None


MESSAGES = [{"role": "user", "content": "one two"}]
SAID = {"choices": [{"index": 0, "message": {"content": "three four five"}}]}


async def counted(
    endpoint: EndpointName, reply: Any, counter: WordCounter | None = None, **fields: Any
) -> Usage:
    body = reply if isinstance(reply, bytes) else msgspec.json.encode(reply)
    return await count_whole(counter or WordCounter(), model_request(endpoint, **fields), "m", body)


def usage(prompt: int, completion: int, source: Any = "counted") -> Usage:
    total = prompt + completion
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total, source=source)


@pytest.mark.parametrize(
    ("endpoint", "fields", "reply", "expected"),
    [
        # The role, two words, 3 for the message, 3 for the reply.
        ("chat/completions", {"messages": MESSAGES}, SAID, usage(3 + 3 + 3, 3)),
        ("completions", {"prompt": "one two"}, {"choices": [{"text": "three"}]}, usage(2, 1)),
        ("completions", {"prompt": [[5, 6, 7]]}, {"choices": []}, usage(3, 0)),
        ("embeddings", {"input": ["one", "two"]}, {"data": [{"embedding": [0.5]}]}, usage(2, 0)),
        (
            "responses",
            {"input": "one", "instructions": "two"},
            {"output": [{"content": [{"text": "three four"}]}]},
            usage(4 + 3 * 2 + 3, 2),
        ),
    ],
)
async def test_a_whole_reply_is_counted_by_its_endpoints_shape(
    endpoint: EndpointName, fields: dict[str, Any], reply: Any, expected: Usage
) -> None:
    assert await counted(endpoint, reply, **fields) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 20_000, b"5", b"null"])
async def test_an_unreadable_reply_has_no_completion_tokens(body: bytes) -> None:
    assert await counted("chat/completions", body, messages=MESSAGES) == usage(9, 0)


async def test_without_a_tokenizer_four_bytes_are_a_token() -> None:
    reply = {"choices": [{"index": 0, "message": {"content": "\u00e9\u00e9\u00e9"}}]}
    found = await counted("chat/completions", reply, NoTokenizer(), messages=MESSAGES)
    # "user" and "one two", rounded up one by one; the reply is 6 bytes.
    assert found == usage(1 + 2 + 3 + 3, 2, "estimated")


async def test_what_the_provider_stores_is_not_counted() -> None:
    request = model_request("responses", input="hi", previous_response_id="resp_1")
    request.stateful_field = "previous_response_id"
    found = await count_whole(WordCounter(), request, "m", b'{"output":[]}')
    assert found == usage(2 + 3 + 3, 0, "estimated")


async def test_the_encoding_is_chosen_by_both_names_of_the_model() -> None:
    asked: list[tuple[str, str]] = []

    class Noting(WordCounter):
        def encoding(self, upstream_model: str, public_model: str) -> str:
            asked.append((upstream_model, public_model))
            return "words"

    await count_whole(Noting(), model_request(messages=MESSAGES), "up", b"{}")
    assert asked == [("up", "public")]


async def test_a_sample_is_extrapolated_to_the_size_of_the_stream() -> None:
    block = b'data: {"choices":[{"index":0,"delta":{"content":"one two"}}]}\n\n'
    sample = StreamSample((block,), len(block), 3 * len(block))
    found = await count_stream(WordCounter(), model_request(messages=MESSAGES), "m", sample)
    assert found == usage(9, 6, "estimated")


async def test_an_empty_sample_is_estimated_from_the_bytes_that_are_not_in_it() -> None:
    sample = StreamSample((b": ping\n\n",), 8, 408)
    found = await count_stream(WordCounter(), model_request(messages=MESSAGES), "m", sample)
    assert found == usage(9, 100, "estimated")


async def test_unreadable_events_and_comments_in_a_sample_are_skipped() -> None:
    good = b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
    blocks = (b": ping\n\ndata: <html>\n\n", b"data: \xff\n\n" + good, b"data: [DONE]\n\n")
    size = sum(map(len, blocks))
    sample = StreamSample(blocks, size, size)
    found = await count_stream(WordCounter(), model_request(messages=MESSAGES), "m", sample)
    assert found == usage(9, 1)
