"""What a stream without usage is taken to have used: counted if all of it was kept, else estimated, never nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.token_estimates import count_stream
from llm_gateway.providers.base import ReplyStream
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_response
from tests.fakes.in_memory import WordCounter

LIMIT = 64 * 1024 * 1024


Made = tuple[ReplyStream, ModelRequest]


def chat() -> Made:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    asked = parse_chat(msgspec.json.encode(body))
    return ChatStream(asked, event_limit=LIMIT), asked


def responses() -> Made:
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
        # Too much to be kept: as if all of it were like the part that was.
        (["word " * 100] * 2000, 150_000, "estimated"),
        # Nothing was kept at all.
        (["q" * 1_000_000], 200_000, "estimated"),
        (["", "q" * 1_000_000], 200_000, "estimated"),
    ],
)
async def test_a_stream_is_never_taken_for_free(
    make: Callable[[], Made], texts: list[str], at_least: int, source: str
) -> None:
    reader, request = make()
    for text in texts:
        reader.feed(event(reader, text))
    usage = await count_stream(WordCounter(), request, "m", reader.sample())
    assert at_least <= usage.completion_tokens <= at_least * 2
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.source == source
