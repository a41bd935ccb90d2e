"""OpenAI's event streams in the styles of JSON that servers write: what is relayed and what is read from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.wire.errors import BadReply


def reader(*, choices: int = 1, hide_usage: bool = True, event_limit: int = 1 << 20) -> OpenAIReplyStream:
    return OpenAIReplyStream(choices=choices, hide_usage=hide_usage, event_limit=event_limit)


def event(value: Any, separators: tuple[str, str] = (",", ":"), end: str = "\n\n") -> bytes:
    return f"data: {json.dumps(value, separators=separators)}{end}".encode()


def piece(text: str | None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
STYLES = [(",", ":"), (", ", ": "), (" , ", " : ")]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("together", [True, False])
def test_any_spacing_of_json_is_understood(style: tuple[str, str], together: bool) -> None:
    relayed = [event(piece("a"), style), event(piece("b"), style), event(piece(None, "stop"), style)]
    sent = [*relayed, event({"choices": [], "usage": USAGE}, style), b"data: [DONE]\n\n"]
    stream = reader()
    out = b"".join(map(stream.feed, [b"".join(sent)] if together else sent))
    assert out == b"".join(relayed)
    assert stream.usage is not None
    assert stream.usage.total_tokens == 3
    assert stream.finished
    assert stream.done


def test_usage_on_the_last_chunk_is_read_and_the_chunk_relayed() -> None:
    last = event(piece(None, "stop", usage=USAGE))
    stream = reader()
    assert stream.feed(event(piece("a"))) + stream.feed(last) == event(piece("a")) + last
    assert stream.usage is not None


def test_usage_on_every_chunk_counts_once_with_the_last_value() -> None:
    stream = reader()
    for count in (1, 2, 3):
        stream.feed(event(piece("a", usage={"prompt_tokens": 5, "completion_tokens": count})))
    assert stream.usage is not None
    assert stream.usage.completion_tokens == 3


def test_every_choice_must_finish() -> None:
    stream = reader(choices=2)
    stream.feed(event(piece("a")) + event(piece("b", index=1)) + event(piece(None, "stop")))
    assert not stream.finished
    stream.feed(event(piece(None, "length", index=1)))
    assert stream.finished


@pytest.mark.parametrize(
    "delta", [{"role": "assistant", "content": ""}, {}, {"content": None}, {"tool_calls": []}]
)
def test_events_without_content_do_not_commit(delta: dict[str, Any]) -> None:
    stream = reader()
    stream.feed(event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    stream.feed(b": ping\n\n" + event({"choices": [], "prompt_filter_results": []}))
    assert not stream.content_seen


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0}]},
        {"something_new": {"a": 1}},
    ],
)
def test_events_with_content_of_any_kind_commit(delta: dict[str, Any]) -> None:
    stream = reader()
    stream.feed(event({"choices": [{"index": 0, "delta": delta}]}))
    assert stream.content_seen


def test_text_that_looks_like_an_error_is_text() -> None:
    said = [event(piece('{"error": "usage": {"finish_reason":"stop"} [DONE]')), event(piece("error"))]
    stream = reader()
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert stream.refusal is None
    assert not stream.done
    assert not stream.finished


def test_chunks_of_an_unknown_shape_are_relayed() -> None:
    odd = [
        event(piece("a")),
        event({"choices": "none", "usage": 5}),
        event([1, 2]),
        b'data: "half a"\ndata:\n\n',
    ]
    stream = reader()
    assert b"".join(map(stream.feed, odd)) == b"".join(odd)


def test_an_unreadable_event_before_the_first_content_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        reader().feed(b"data: <html>\n\n")
    with pytest.raises(BadReply):
        reader(event_limit=100).feed(b"data: " + b"x" * 200)


BROKEN = {
    "an object cut short": b'data: {"choices":[{"index":0,"delta":{"content":"br\n\n',
    "no JSON": b"data: {no json}\n\n",
    "text": b"data: Internal Server Error\n\n",
    "half a line": b"data: half a\ndata: line\n\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("together", [True, False])
def test_an_unreadable_event_after_the_first_content_ends_the_stream(
    broken: bytes, end: bytes, style: tuple[str, str], together: bool
) -> None:
    relayed = [event(piece("a"), style), event(piece("b"), style), b": ping\n\n", event(piece("c"), style)]
    sent = [one.replace(b"\n", end) for one in [*relayed, broken, event(piece("d", "stop"), style)]]
    stream = reader()
    out = []
    for data in [b"".join(sent)] if together else sent:
        out.append(stream.feed(data))
        if stream.refusal is not None:
            break
    assert b"".join(out) == b"".join(sent[:4])
    assert stream.refusal is not None
    assert stream.refusal.code == "upstream_bad_reply"
    assert not stream.finished


def test_common_chunks_are_relayed_without_parsing() -> None:
    """Each common style of JSON must take the fast path, or it saves nothing."""
    for style in STYLES[:2]:
        stream = reader()
        stream.feed(event(piece("a"), style))
        assert stream._is_quiet(event(piece("b"), style) + event(piece("c"), style))
        bare = reader()
        bare.feed(event({"choices": [{"delta": {"content": "a"}}]}, style))
        assert bare._is_quiet(event({"choices": [{"delta": {"content": "b"}}]}, style))


def test_what_follows_done_is_dropped() -> None:
    stream = reader()
    stream.feed(event(piece("a", "stop")))
    assert stream.feed(b"data: [DONE]\n\n" + event(piece("late"))) == b""


def test_a_long_stream_is_sampled_and_its_size_counted() -> None:
    stream = reader()
    block = event(piece("word " * 200))
    for _ in range(1000):
        stream.feed(block)
    sample = stream.sample()
    assert sample.total_bytes == 1000 * len(block)
    assert 0 < sample.sampled_bytes <= 256 * 1024
    assert sum(map(len, sample.blocks)) == sample.sampled_bytes


def test_a_last_event_without_its_blank_line_is_relayed_and_half_an_event_is_not() -> None:
    stream = reader()
    stream.feed(event(piece("a")) + event(piece(None, "stop"), end=""))
    assert stream.end() == event(piece(None, "stop"))
    assert stream.finished
    stream = reader()
    stream.feed(event(piece("a")) + b'data: {"choices":[{"ind')
    assert stream.end() == b""
