"""How the events of a stream become chunks, and when a stream is finished."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_replies import ASKED, DELTA, END, HELLO, LEGACY, START, STOP, TEXT, chunks, event
from tests.fakes.anthropic_wire import chat, recording


def reader(request: Any = ASKED) -> AnthropicStream:
    return AnthropicStream(request, event_limit=1 << 16)


def test_content_is_seen_with_the_first_text() -> None:
    stream = reader()
    opening = stream.feed(START + TEXT + event("ping"))
    assert chunks(opening)[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert opening.endswith(b": ping\n\n")
    assert (stream.content_seen, stream.done) == (False, False)
    assert chunks(stream.feed(HELLO))[0]["choices"][0]["delta"] == {"content": "Hello"}
    assert stream.content_seen
    assert (stream.finished, stream.done, stream.usage) == (False, False, None)
    ending = chunks(stream.feed(STOP + DELTA))
    assert ending[0]["choices"][0]["finish_reason"] == "stop"
    assert ending[1]["choices"] == []
    assert ending[1]["usage"]["total_tokens"] == 5
    assert (stream.finished, stream.done) == (True, False)
    assert stream.feed(END + HELLO) == b""
    assert (stream.finished, stream.done) == (True, True)


def test_the_usage_chunk_is_sent_only_on_request() -> None:
    stream = reader(chat({"messages": [], "stream": True}, wants_usage=False))
    out = chunks(stream.feed(START + TEXT + HELLO + STOP + DELTA + END))
    assert all("usage" not in one for one in out)
    assert stream.usage is not None


def test_an_error_ends_the_stream_and_nothing_follows() -> None:
    stream = reader()
    out = stream.feed(recording("broken_off").stream + HELLO)
    assert [one["choices"][0]["delta"] for one in chunks(out)] == [
        {"role": "assistant"},
        {"content": "Hello"},
    ]
    assert stream.refusal == UpstreamErrorBody(message="Overloaded", type="server_error", code="overloaded")
    assert not stream.done
    assert not stream.finished


def test_an_end_without_a_stop_reason_is_a_truncated_stream() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + END)
    assert not stream.done
    assert not stream.finished
    assert stream.end() == b""


def test_a_last_event_counts_only_if_complete() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + DELTA[:-20])
    assert (stream.end(), stream.finished) == (b"", False)
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + DELTA[:-1])
    assert chunks(stream.end())[0]["choices"][0]["finish_reason"] == "stop"
    assert stream.finished


def test_unknown_events_blocks_and_deltas_are_skipped() -> None:
    stream = reader()
    stream.feed(START)
    assert stream.feed(event("a_new_event", message="text", delta=7)) == b""
    assert (
        stream.feed(event("content_block_start", index=0, content_block={"type": "new", "text": None})) == b""
    )
    assert stream.feed(event("content_block_delta", index=0, delta={"type": "citations_delta"})) == b""
    assert stream.feed(STOP) == b""
    assert not stream.content_seen


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b'data: {"type": "message_delta", "delta": 7}\n\n'])
def test_unreadable_events_are_a_bad_reply(data: bytes) -> None:
    with pytest.raises(BadReply):
        reader().feed(data)


def test_an_event_over_the_limit_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        reader().feed(b"data: " + b"x" * (1 << 17))


def test_content_in_the_start_of_a_block_is_relayed() -> None:
    stream = reader()
    block = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    words = event("content_block_start", index=0, content_block={"type": "text", "text": "Hel"})
    out = chunks(stream.feed(START + words + HELLO + STOP))
    assert [one["choices"][0]["delta"].get("content") for one in out] == [None, "Hel", "Hello"]
    out = chunks(stream.feed(event("content_block_start", index=1, content_block=block) + STOP))
    (first,), (second,) = (one["choices"][0]["delta"]["tool_calls"] for one in out)
    assert first == {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert second == {"index": 0, "function": {"arguments": '{"a": 1}'}}


def test_streamed_arguments_replace_those_of_the_start() -> None:
    stream = reader()
    block = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    parts = [{"type": "input_json_delta", "partial_json": part} for part in ('{"a"', ": 1}")]
    stream.feed(START + event("content_block_start", index=0, content_block=block))
    out = b"".join(stream.feed(event("content_block_delta", index=0, delta=part)) for part in parts)
    calls = [one["choices"][0]["delta"]["tool_calls"][0] for one in chunks(out)]
    assert [call["function"]["arguments"] for call in calls] == ['{"a"', ": 1}"]
    assert stream.feed(STOP) == b""


def test_calls_are_numbered_within_the_message() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP)
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    out = stream.feed((event("content_block_start", index=1, content_block=block) + STOP) * 2)
    assert [one["choices"][0]["delta"]["tool_calls"][0]["index"] for one in chunks(out)] == [0, 0, 1, 1]


def test_an_empty_stream_has_an_empty_content() -> None:
    stream = reader()
    out = chunks(stream.feed(START + DELTA + END))
    assert out[1]["choices"][0]["delta"] == {"content": ""}
    assert (stream.finished, stream.done) == (True, True)


def test_a_refusal_is_in_the_last_chunk() -> None:
    refusal = {"stop_reason": "refusal", "stop_details": {"explanation": "Because."}}
    out = chunks(reader().feed(START + TEXT + HELLO + STOP + event("message_delta", delta=refusal)))
    assert out[-1]["choices"][0]["delta"] == {"refusal": "Because."}
    assert out[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_second_stop_reason_is_ignored_and_its_usage_counts() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + DELTA)
    again = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 9})
    assert stream.feed(again) == b""
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (3, 9)


def test_long_thinking_takes_linear_time() -> None:
    stream = AnthropicStream(ASKED, event_limit=64 << 20)
    begin = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    piece = event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "x" * 1000})
    stream.feed(START + begin)
    begun = time.monotonic()
    for _ in range(150):
        stream.feed(piece * 100)
    # Some ten times what it takes; copying all that was thought for each piece takes ten times this.
    assert time.monotonic() - begun < 4
    (detail,) = chunks(stream.feed(STOP))[0]["choices"][0]["delta"]["reasoning_details"]
    assert detail["text"] == "x" * 15_000_000


def test_a_legacy_stream_has_only_text() -> None:
    stream = reader(LEGACY)
    thinking = recording("interleaved_thinking").stream
    out = chunks(stream.feed(thinking))
    assert [one["choices"][0]["text"] for one in out if one["choices"]] == ["Let me look.", ""]
    assert stream.usage is not None


def test_the_sample_is_dropped_when_the_usage_is_known() -> None:
    stream = reader()
    out = stream.feed(START + TEXT + HELLO)
    assert stream.sample().total_bytes == len(out)
    assert b"".join(stream.sample().blocks) == out
    stream.feed(STOP + DELTA)
    assert stream.sample().blocks == ()
