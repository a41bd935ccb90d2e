"""How the events of a stream become chunks, and when a stream is finished."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage
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
    assert b"ping" not in opening
    assert opening.count(b"\n\n") == 1
    assert (stream.content_seen, stream.done) == (False, False)
    assert chunks(stream.feed(HELLO))[0]["choices"][0]["delta"] == {"content": "Hello"}
    assert stream.content_seen
    assert (stream.finished, stream.done, stream.usage) == (False, False, StatedUsage(3))
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


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: 7\n\n", b"data: [\n\n"])
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


def test_the_sample_stays_when_the_usage_is_known() -> None:
    stream = reader()
    out = stream.feed(START + TEXT + HELLO)
    assert stream.sample().total_bytes == len(out)
    assert b"".join(stream.sample().blocks) == out
    out += stream.feed(STOP + DELTA)
    # The counts may turn out to be zero beside words.
    assert b"".join(stream.sample().blocks) == out


@pytest.mark.parametrize("reason", [None, "", " ", "null", "NULL", "None", "unspecified", 7, []])
def test_a_stop_reason_that_says_nothing_is_not_the_end(reason: Any) -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + event("message_delta", delta={"stop_reason": reason}) + END)
    assert stream.end() == b""
    assert (stream.content_seen, stream.finished, stream.done, stream.refusal) == (True, False, False, None)


def test_a_stop_reason_that_says_nothing_is_no_content() -> None:
    stream = reader()
    stream.feed(START + event("message_delta", delta={"stop_reason": ""}))
    assert not stream.content_seen


@pytest.mark.parametrize("reason", ["error", "Error", "abort", "cancelled", "failed"])
def test_an_error_as_stop_reason_is_a_failure(reason: str) -> None:
    stream = reader()
    out = chunks(
        stream.feed(START + TEXT + HELLO + event("message_delta", delta={"stop_reason": reason}) + END)
    )
    assert out[-1]["choices"][0]["finish_reason"] is None
    assert stream.refusal is not None
    assert not stream.finished


@pytest.mark.parametrize(
    "noise",
    [
        b"data:\n\n", b"data: \n\n", b"data:   \r\n\r\n", b": keep-alive\n\n", b"event: ping\n\n", b"data: {}\n\n",
        b"data: [DONE]\n\n", b'data: {"type": null}\n\n', b'data: {"error": false}\n\n', b'data: {"error": null}\n\n',
        b"id: 7\n\n", b"data: [PING]\n\n", b"data: keep-alive\n\n", event("ping"), event("ping", error={}),
    ],
)  # fmt: skip
def test_noise_ends_no_good_answer(noise: bytes) -> None:
    stream = reader()
    for sent in (START, TEXT, HELLO, STOP, DELTA, END):
        stream.feed(noise)
        stream.feed(sent)
        stream.feed(noise)
    assert (stream.finished, stream.done, stream.refusal) == (True, True, None)


def test_openais_end_marker_ends_only_a_complete_message() -> None:
    done = b"data: [DONE]\n\n"
    states = []
    stream = reader()
    for sent in (START + TEXT + HELLO, STOP + DELTA):
        stream.feed(sent + done)
        states.append(stream.done)
    assert states == [False, True]
    alone = reader()
    assert alone.feed(b"data: [DONE]\n\n") + alone.end() == b""
    assert (alone.content_seen, alone.done) == (False, False)


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("message_start", {"message": {"id": None, "model": "claude", "usage": []}}),
        (
            "content_block_start",
            {"index": "0", "content_block": {"type": "text", "text": 7, "citations": {}}},
        ),
        (
            "content_block_delta",
            {"index": None, "usage": [], "delta": {"type": 7, "text": "Hello", "signature": 7}},
        ),
        (
            "message_delta",
            {"index": [], "usage": [], "delta": {"stop_reason": "end_turn", "stop_details": "text"}},
        ),
    ],
)
def test_one_odd_field_hides_nothing_else_in_an_event(kind: str, odd: dict[str, Any]) -> None:
    events = {
        "message_start": START, "content_block_start": TEXT, "content_block_delta": HELLO, "message_delta": DELTA,
    }  # fmt: skip
    stream = reader()
    out = chunks(stream.feed(b"".join((events | {kind: event(kind, **odd)}).values()) + END))
    said = [one["choices"][0] for one in out if one["choices"]]
    assert "".join(one["delta"].get("content") or "" for one in said) == "Hello"
    assert said[-1]["finish_reason"] == "stop"
    assert stream.done


def test_a_surrogate_without_its_partner_is_replaced_in_a_stream() -> None:
    (chunk,) = chunks(reader().feed(HELLO.replace(b"Hello", rb"a\ud83d")))
    assert chunk["choices"][0]["delta"]["content"] == "a\ufffd"


@pytest.mark.parametrize("name", ["text", "tool_use", "thinking"])
@pytest.mark.parametrize("tail", [b"", b"\n", b"\n\n"])
def test_a_message_in_place_of_a_stream_is_read_whatever_its_content_type(name: str, tail: bytes) -> None:
    response = recording(name).response
    assert response is not None
    wanted = reader()
    events = wanted.whole(response)
    fed = reader()
    assert fed.feed(response + tail) + fed.end() == events
    assert (fed.content_seen, fed.finished, fed.done, fed.usage) == (True, True, True, wanted.usage)


@pytest.mark.parametrize("name", ["text", "tool_use", "thinking"])
def test_a_stream_labelled_as_json_is_read_as_a_stream(name: str) -> None:
    sent = recording(name).stream
    wanted = reader()
    events = wanted.feed(sent)
    labelled = reader()
    assert labelled.whole(sent) == events
    assert (labelled.content_seen, labelled.finished, labelled.done) == (True, True, True)
    with pytest.raises(BadReply):
        reader().whole(sent[: sent.index(b"event: message_delta")])
    failed = reader()
    failed.whole(recording("broken_off").stream)
    assert (failed.refusal is not None, failed.done) == (True, False)


LONG_START = event(
    "message_start",
    message={
        "id": "msg_1",
        "model": "claude",
        "usage": {"input_tokens": 25, "cache_read_input_tokens": 100_000, "output_tokens": 1},
    },
)
STATED = StatedUsage(100_025, None, None, 100_000)


def ending(**usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        # The stream is cut, or the client leaves: the prompt is known, the output is to be counted.
        (b"", STATED),
        (TEXT + HELLO, STATED),
        (TEXT + HELLO + event("error", error={"type": "overloaded_error", "message": "no"}), STATED),
        (TEXT + HELLO + STOP + event("message_delta", delta={"stop_reason": "end_turn"}), STATED),
        (TEXT + HELLO + STOP + ending(output_tokens=7), Usage(100_025, 7, 100_032, 100_000)),
        (TEXT + HELLO + STOP + ending(output_tokens=7.0), Usage(100_025, 7, 100_032, 100_000)),
        # Zeros and nonsense do not replace what was stated.
        (
            TEXT + HELLO + STOP + ending(input_tokens=0, cache_read_input_tokens=0, output_tokens=7),
            Usage(100_025, 7, 100_032, 100_000),
        ),
        (TEXT + HELLO + STOP + ending(output_tokens=0), StatedUsage(100_025, 0, None, 100_000)),
        (TEXT + HELLO + STOP + ending(output_tokens=[]), STATED),
        (
            TEXT + HELLO + STOP + ending(output_tokens=7) + ending(output_tokens=0),
            Usage(100_025, 7, 100_032, 100_000),
        ),
        # Words after the count make it out of date.
        (ending(output_tokens=7) + TEXT + HELLO, STATED),
    ],
)
def test_what_a_stream_states_is_kept_and_only_the_rest_is_open(
    rest: bytes, expected: Usage | StatedUsage
) -> None:
    stream = reader()
    stream.feed(LONG_START + rest)
    assert stream.usage == expected


@pytest.mark.parametrize("odd", [[], "none", 5, None])
def test_an_odd_usage_does_not_break_a_stream(odd: Any) -> None:
    stream = reader()
    start = event("message_start", message={"id": "msg_1", "model": "claude", "usage": odd})
    stream.feed(start + TEXT + HELLO + STOP)
    stream.feed(event("message_delta", delta={"stop_reason": "end_turn"}, usage=odd) + END)
    assert (stream.refusal, stream.done, stream.usage) == (None, True, None)
