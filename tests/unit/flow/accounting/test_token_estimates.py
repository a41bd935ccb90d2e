"""Token counts of replies without usage: counted when the whole text is known, else estimated, never zero."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting import token_estimates
from llm_gateway.flow.accounting.token_estimates import count_stream, count_whole, stated_alone
from llm_gateway.providers.base import ReplyStream, StreamSample
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_response
from llm_gateway.wire.openai_chat.texts import message_texts
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
async def test_s3_27_a_stream_is_counted_or_estimated_but_never_zero(
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


async def test_s3_27_without_a_tokenizer_four_bytes_are_a_token() -> None:
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


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        # SAID has 3 words, MESSAGES count as 9 tokens.
        (StatedUsage(100_025, None), usage(100_025, 3, "provider/counted")),
        (StatedUsage(100_025, 0), usage(100_025, 3, "provider/counted")),
        (StatedUsage(None, 25), usage(9, 25, "counted/provider")),
        (StatedUsage(0, 25), usage(9, 25, "counted/provider")),
        (StatedUsage(0, 0, 0), usage(9, 3)),
        (StatedUsage(), usage(9, 3)),
        # A total is kept if it can be right.
        (StatedUsage(None, None, 50), Usage(9, 3, 50, source="counted")),
        (StatedUsage(None, None, 5), usage(9, 3)),
        # A whole is no less than its parts, and a part no more than its whole.
        (StatedUsage(None, 25, None, 100), Usage(100, 25, 125, 100, 0, "counted/provider")),
        (StatedUsage(10, None, None, 99, 99), Usage(10, 99, 109, 10, 99, "provider/counted")),
    ],
)
async def test_only_what_the_provider_did_not_state_is_counted(stated: StatedUsage, expected: Usage) -> None:
    found = await count_whole(
        WordCounter(), model_request(messages=MESSAGES), "m", msgspec.json.encode(SAID), stated
    )
    assert found == expected
    block = b'data: {"choices":[{"index":0,"delta":{"content":"three four five"}}]}\n\n'
    sample = StreamSample((block,), len(block), len(block))
    assert (
        await count_stream(WordCounter(), model_request(messages=MESSAGES), "m", sample, stated) == expected
    )


async def test_without_a_tokenizer_the_other_half_is_estimated() -> None:
    body = msgspec.json.encode(SAID)
    half = await count_whole(NoTokenizer(), model_request(messages=MESSAGES), "m", body, StatedUsage(100_025))
    assert half == usage(100_025, 4, "provider/estimated")
    half = await count_whole(NoTokenizer(), model_request(messages=MESSAGES), "m", body, StatedUsage(0, 25))
    assert half == usage(1 + 2 + 3 + 3, 25, "estimated/provider")


async def test_zero_completion_tokens_stand_where_there_are_no_words() -> None:
    empty = {"choices": [{"index": 0, "message": {"content": ""}}]}
    found = await count_whole(
        WordCounter(), model_request(messages=MESSAGES), "m", msgspec.json.encode(empty), StatedUsage(10, 0)
    )
    assert found == usage(10, 0, "provider")


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (StatedUsage(8, None, 8), usage(8, 0, "provider")),
        (StatedUsage(8, 0, 8), usage(8, 0, "provider")),
        (StatedUsage(None, None, 8), usage(8, 0, "provider")),
        (StatedUsage(0, 0, 0), usage(2, 0)),
        (None, usage(2, 0)),
    ],
)
async def test_embeddings_have_a_prompt_alone(stated: StatedUsage | None, expected: Usage) -> None:
    request = model_request("embeddings", input=["one", "two"])
    assert await count_whole(WordCounter(), request, "m", b'{"data":[]}', stated) == expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, None),
        (usage(9, 3), usage(9, 3)),
        (StatedUsage(None, 3), None),
        (StatedUsage(100, None, None, 90), Usage(100, 0, 100, 90, 0, "provider/estimated")),
    ],
)
def test_a_stated_prompt_survives_a_count_that_fails(
    stated: Usage | StatedUsage | None, expected: Usage | None
) -> None:
    assert stated_alone(stated) == expected


LONG = "word " * 2000
TOOL = {"name": "f", "description": LONG, "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"name": "s", "schema": {"type": "object", "description": LONG}}


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("chat/completions", {"messages": MESSAGES, "tools": [{"type": "function", "function": TOOL}]}),
        ("chat/completions", {"messages": MESSAGES, "tools": [{"type": "custom", "custom": TOOL}]}),
        ("chat/completions", {"messages": MESSAGES, "functions": [TOOL]}),
        (
            "chat/completions",
            {"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
        (
            "chat/completions",
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": LONG}}]}]},
        ),
        ("chat/completions", {"messages": [{"role": "tool", "content": [{"type": "text", "text": LONG}]}]}),
        ("completions", {"prompt": "one", "suffix": LONG}),
        ("responses", {"input": "one", "tools": [{"type": "function", **TOOL}]}),
        ("responses", {"input": "one", "text": {"format": {"type": "json_schema", **SCHEMA}}}),
        ("responses", {"input": "one", "instructions": LONG}),
        ("responses", {"input": [{"type": "function_call_output", "output": LONG}]}),
        ("responses", {"input": [{"type": "mcp_list_tools", "tools": [TOOL]}]}),
    ],
)
async def test_whatever_the_provider_bills_of_a_prompt_is_counted(
    endpoint: EndpointName, fields: dict[str, Any]
) -> None:
    found = await counted(endpoint, {}, **fields)
    assert 2000 <= found.prompt_tokens <= 2030
    assert found.source == "counted"


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, 765),
        ({"type": "file", "file": {"file_id": "file_1"}}, 2000),
    ],
)
async def test_images_and_files_are_estimated(part: dict[str, Any], tokens: int) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "one two"}, part]}]
    assert await counted("chat/completions", SAID, messages=messages) == usage(9 + tokens, 3, "estimated")


async def test_half_a_surrogate_pair_hides_nothing() -> None:
    request = model_request()
    request.fields["messages"] = msgspec.Raw(b'[{"role":"user","content":"one two \\ud800"}]')
    body = b'{"choices":[{"index":0,"message":{"content":"three four \\udfff"}}]}'
    assert await count_whole(WordCounter(), request, "m", body) == usage(1 + 3 + 3 + 3, 3)


@pytest.mark.parametrize("odd", [rb"three \ud83d", b"three \xff"])
@pytest.mark.parametrize("make", [chat, responses])
async def test_an_event_with_a_broken_character_counts(make: Callable[[], StreamCase], odd: bytes) -> None:
    reader, request = make()
    reader.feed(event(reader, "one two") + event(reader, " X").replace(b"X", odd))
    counted = await count_stream(WordCounter(), request, "m", reader.sample())
    assert (counted.completion_tokens, counted.source) == (4, "counted")


async def test_a_large_prompt_is_read_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    read = message_texts

    def note(messages: object) -> tuple[list[str], int]:
        threads.add(threading.get_ident())
        return read(messages)

    monkeypatch.setattr(token_estimates, "message_texts", note)
    small = await counted("chat/completions", SAID, messages=[{"role": "user", "content": "word"}])
    assert small.source == "counted"
    assert threads == {threading.get_ident()}
    threads.clear()
    large = await counted("chat/completions", SAID, messages=[{"role": "user", "content": "word " * 40_000}])
    assert large == usage(40_000 + 1 + 3 + 3, 3)
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("filler", [b"{},", b"[],", b"5,"])
async def test_json_of_very_many_elements_is_not_read_but_estimated(filler: bytes) -> None:
    request = model_request()
    raw = b"[" + filler * 5_000_000 + b"{}]"
    request.fields["messages"] = msgspec.Raw(raw)
    begun = time.perf_counter()
    found = await count_whole(WordCounter(), request, "m", raw)
    assert time.perf_counter() - begun < 1.0
    assert found.source == "estimated"
    assert found.prompt_tokens == pytest.approx(len(raw) / 4, abs=5)
    assert found.completion_tokens == pytest.approx(len(raw) / 4, abs=5)


async def test_what_else_a_provider_stated_stays_if_it_fits_what_was_counted() -> None:
    details = UsageDetails(
        quantities={"input_audio_tokens": 8, "output_audio_tokens": 4, "web_searches": 2},
        served_tier="flex",
        cost_nano_usd=7,
    )
    body = msgspec.json.encode(SAID)
    stated = StatedUsage(9, None, None, 3, 0, 5, details)
    found = await count_whole(WordCounter(), model_request(messages=MESSAGES), "m", body, stated)
    # The answer has three tokens, so that no more of them can be audio.
    quantities = {"input_audio_tokens": 8, "output_audio_tokens": 3, "web_searches": 2}
    kept = msgspec.structs.replace(details, quantities=quantities)
    assert found == Usage(9, 3, 12, 3, 0, "provider/counted", 5, kept)
    # Of an answer that nobody counted, nothing is known to be audio.
    alone = msgspec.structs.replace(details, quantities={"input_audio_tokens": 8, "web_searches": 2})
    assert stated_alone(stated) == Usage(9, 0, 9, 3, 0, "provider/estimated", 5, alone)
