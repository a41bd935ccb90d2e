"""OpenAI's event streams in the styles of JSON that servers write: what is relayed and what is read from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.providers.openai import event_stream
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.wire.errors import BadReply
from tests.fakes.compiled_parts import WAYS, reading_events


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read all streams in both ways."""
    with reading_events(request.param):
        yield


@contextmanager
def without_parsing() -> Iterator[None]:
    with patch.object(event_stream, "decode_chunk", side_effect=AssertionError("a chunk is parsed")):
        yield


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
    # All but the comment.
    assert b"".join(out) == b"".join([*sent[:2], sent[3]])
    assert stream.refusal is not None
    assert stream.refusal.code == "upstream_bad_reply"
    assert not stream.finished


def test_common_chunks_are_relayed_without_parsing() -> None:
    """Each common style of JSON must take the fast path, or it saves nothing."""
    for style in STYLES[:2]:
        stream = reader()
        stream.feed(event(piece("a"), style))
        bare = reader()
        bare.feed(event({"choices": [{"delta": {"content": "a"}}]}, style))
        block = event(piece("b"), style) + event(piece("c"), style)
        bare_event = event({"choices": [{"delta": {"content": "b"}}]}, style)
        with without_parsing():
            assert stream.feed(block) == block
            assert bare.feed(bare_event) == bare_event


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


NOT_FINISHED = ["", "null", "NULL", " ", "None", "not_finished", False, 0, {}, []]


@pytest.mark.parametrize("reason", NOT_FINISHED)
@pytest.mark.parametrize("style", STYLES)
def test_a_finish_reason_that_names_none_does_not_finish(reason: Any, style: tuple[str, str]) -> None:
    stream = reader()
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": reason}]}, style)
    assert stream.feed(role) == role
    assert (stream.content_seen, stream.finished) == (False, False)
    said = [event(piece(text, reason), style) for text in "abc"]
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert (stream.content_seen, stream.finished) == (True, False)
    stream.feed(event(piece(None, "stop"), style))
    assert stream.finished


@pytest.mark.parametrize("reason", ["", "null"])
def test_chunks_with_an_empty_finish_reason_are_relayed_without_parsing(reason: str) -> None:
    stream = reader()
    stream.feed(event(piece("a", reason)))
    block = event(piece("b", reason)) + event(piece("c", reason))
    with without_parsing():
        assert stream.feed(block) == block
    stream.feed(event(piece("d", "stop")))
    assert stream.finished


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "content_filter", "function_call", "eos", "STOP", "max_tokens"]
)
def test_any_other_finish_reason_finishes(reason: str) -> None:
    stream = reader()
    stream.feed(event(piece(None, reason)))
    assert (stream.content_seen, stream.finished, stream.refusal) == (True, True, None)


@pytest.mark.parametrize(
    "reason", ["error", "ERROR", "network_error", "abort", "failed", "insufficient_system_resource"]
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_finish_reason_that_reports_a_failure_is_a_refusal(reason: str, begun: bool) -> None:
    stream = reader()
    said = event(piece("a")) if begun else b""
    assert stream.feed(said + event(piece(None, reason)) + b"data: [DONE]\n\n") == said
    assert stream.refusal is not None
    assert reason in (stream.refusal.message or "")
    assert not stream.finished
    assert not stream.done


@pytest.mark.parametrize(
    "failed",
    [
        {
            "error": {"message": "overloaded", "code": 502},
            "choices": [{"delta": {}, "finish_reason": "error"}],
        },
        {"choices": [{"delta": {}, "finish_reason": None, "error": {"message": "overloaded", "code": 502}}]},
        {"object": "error", "message": "overloaded", "type": "InternalServerError", "code": 502},
        {"type": "error", "error": {"message": "overloaded", "code": 502}},
        {"code": 502, "msg": "overloaded"},
        {"detail": "overloaded"},
        {"error": "overloaded"},
    ],
)
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_an_error_of_any_shape_is_a_refusal(failed: dict[str, Any], begun: bool, bare: bool) -> None:
    stream = reader()
    said = event(piece("a")) if begun else b""
    event_of_error = event(failed).removeprefix(b"data: ") if bare else event(failed)
    assert stream.feed(said + event_of_error + b"data: [DONE]\n\n") == said
    assert stream.refusal is not None
    assert stream.refusal.message == "overloaded"
    assert not stream.done


@pytest.mark.parametrize(
    "lines", ["event: error\n", "id: 7\nevent: error\n", "event:error\r\n", ": note\nevent: error\n"]
)
def test_an_event_named_error_is_a_refusal(lines: str) -> None:
    stream = reader()
    stream.feed(event(piece("a")))
    assert stream.feed(lines.encode() + event({"message": "no", "choices": []})) == b""
    assert stream.refusal is not None
    assert stream.refusal.message == "no"


@pytest.mark.parametrize("error", [None, False, 0, "", [], {}, "null", {"message": None}, {"code": 0}])
@pytest.mark.parametrize("style", STYLES)
def test_an_error_field_that_says_nothing_is_no_error(error: Any, style: tuple[str, str]) -> None:
    said = [event(piece("a", error=error), style), event(piece("b", "stop", error=error), style)]
    stream = reader()
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert (stream.refusal, stream.finished) == (None, True)


ODD = {
    "index": {"index": None},
    "index as text": {"index": "0"},
    "index as float": {"index": 0.0},
    "text": {"text": []},
    "delta field": {"logprobs": "none"},
}
ODD_CHUNKS = {
    "usage as list": {"usage": []},
    "usage as text": {"usage": "none"},
    "usage details": {"usage": {"prompt_tokens": "3", "completion_tokens_details": []}},
    "odd choices beside": {"id": 5, "created": "now", "object": None},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("odd_chunk", [{}, *ODD_CHUNKS.values()], ids=["usual", *ODD_CHUNKS.keys()])
def test_an_unreadable_field_hides_no_other(odd: dict[str, Any], odd_chunk: dict[str, Any]) -> None:
    def chunk(text: str, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish, **odd}
        return event({"choices": [choice], **odd_chunk})

    stream = reader()
    stream.feed(event({"choices": [{"delta": {"role": "assistant", "content": ""}, **odd}], **odd_chunk}))
    assert not stream.content_seen
    assert stream.feed(chunk("a", None)) == chunk("a", None)
    assert (stream.content_seen, stream.finished) == (True, False)
    assert stream.feed(chunk("", "stop")) == chunk("", "stop")
    assert stream.finished


def test_an_unreadable_index_is_the_place_of_its_choice() -> None:
    choices: list[Any] = [{"index": None, "delta": {}, "finish_reason": "stop"} for _ in range(2)]
    stream = reader(choices=2)
    stream.feed(event({"choices": choices}))
    assert stream.finished


def test_an_unreadable_choice_hides_no_other() -> None:
    stream = reader()
    stream.feed(event({"choices": [5, {"index": 0, "delta": 5, "text": "a", "finish_reason": "stop"}]}))
    assert (stream.content_seen, stream.finished) == (True, True)


@pytest.mark.parametrize("odd", ["\\ud83d", "\\udc00 \\ud83d"])
def test_a_lone_surrogate_does_not_end_a_stream(odd: str) -> None:
    def chunk(finish: str) -> bytes:
        return b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":%b}]}\n\n' % (
            odd.encode(),
            finish.encode(),
        )

    said = [chunk("null"), chunk("null"), chunk('"stop"')]
    stream = reader()
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert (stream.finished, stream.refusal) == (True, None)


def test_numbers_that_are_not_json_do_not_end_a_stream() -> None:
    said = [
        b'data: {"choices":[{"delta":{"content":"a"},"logprobs":[-Infinity, NaN],"finish_reason":"stop"}]}\n\n'
    ]
    stream = reader()
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert stream.finished


@pytest.mark.parametrize("heartbeat", [b"data:\n\n", b"data: \n\n", b"event: ping\ndata:\n\n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("together", [True, False])
def test_a_heartbeat_without_data_is_dropped(heartbeat: bytes, end: bytes, together: bool) -> None:
    beat, *said, done = (
        one.replace(b"\n", end)
        for one in [
            heartbeat,
            event(piece("a")),
            event(piece("b")),
            event(piece(None, "stop")),
            b"data: [DONE]\n\n",
        ]
    )
    sent = [beat, said[0], beat, said[1], beat, said[2], beat, done]
    stream = reader()
    assert b"".join(map(stream.feed, [b"".join(sent)] if together else sent)) == b"".join(said)
    assert (stream.refusal, stream.done) == (None, True)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b": ping\n\n",
        b"data: {}\n\n",
        event({"choices": []}),
        event({"choices": [], "prompt_filter_results": []}),
        event(
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        ),
        event({"choices": [], "usage": USAGE}),
    ],
)
def test_a_stream_of_its_end_alone_is_no_answer(before: bytes) -> None:
    stream = reader()
    stream.feed(before + b"data: [DONE]\n\n")
    assert stream.refusal is not None
    assert not stream.done


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first_is_bare", [True, False])
def test_each_bare_chunk_becomes_an_event(first_is_bare: bool, together: bool) -> None:
    events = [event(piece(text)) for text in "abc"] + [event(piece(None, "stop"))]
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
    sent = [one.removeprefix(b"data: ") for one in events]
    if not first_is_bare:
        events, sent = [role, *events], [role, *sent]
    stream = reader()
    assert b"".join(map(stream.feed, [b"".join(sent)] if together else sent)) == b"".join(events)
    assert stream.finished
    assert not stream.plain_event_end()


@pytest.mark.parametrize("bare", [True, False])
def test_a_whole_reply_in_a_stream_becomes_chunks(bare: bool) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    sent = event({"object": "chat.completion", "choices": [choice], "usage": USAGE})
    stream = reader()
    out = stream.feed((sent.removeprefix(b"data: ") if bare else sent) + b"data: [DONE]\n\n")
    assert out.count(b"\n\n") == 1
    assert b'"delta":{"role":"assistant","content":"Hi"}' in out
    assert (stream.finished, stream.done) == (True, True)
    assert stream.usage is not None


WORDS = event(piece("one two"))


def stated(**counts: Any) -> bytes:
    return event({"choices": [], "usage": counts})


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # Usage on the first chunk alone, though words follow: only the prompt is not out of date.
        ([event(piece("", usage=USAGE)), WORDS, WORDS], StatedUsage(1)),
        ([event(piece("a", usage=USAGE)), WORDS], StatedUsage(1)),
        # Usage on every chunk includes the chunk's own words.
        ([event(piece("a", usage=USAGE)), event(piece("b", usage=USAGE))], Usage(1, 2, 3)),
        # A finish reason is not content.
        ([WORDS, stated(**USAGE), event(piece(None, "stop"))], Usage(1, 2, 3)),
        # Zeros at the end do not replace what was stated.
        ([event(piece("a", usage=USAGE)), stated(prompt_tokens=0, completion_tokens=0)], Usage(1, 2, 3)),
        ([WORDS, stated(prompt_tokens=0, completion_tokens=0, total_tokens=0)], StatedUsage(0, 0, 0)),
        ([WORDS, stated(completion_tokens=25)], StatedUsage(None, 25)),
        ([WORDS, stated(prompt_tokens=1.0, completion_tokens="2", prompt_tokens_details=[])], Usage(1, 2, 3)),
        ([WORDS, event(piece(None, usage=[]))], None),
        # Places of their own: Moonshot's and Groq's.
        (
            [WORDS, event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]})],
            Usage(1, 2, 3),
        ),
        ([WORDS, event(piece(None, "stop", x_groq={"id": "r", "usage": USAGE}))], Usage(1, 2, 3)),
        ([WORDS, event(piece(None, "stop", x_groq=5)), stated(**USAGE)], Usage(1, 2, 3)),
    ],
)
def test_the_usage_of_a_stream_is_the_last_that_no_words_follow(
    events: list[bytes], together: bool, expected: Usage | StatedUsage | None
) -> None:
    stream = reader()
    for data in [b"".join(events)] if together else events:
        stream.feed(data)
    assert stream.usage == expected
    assert stream.sample().total_bytes == stream.sample().sampled_bytes > 0


def test_an_odd_usage_does_not_hide_the_rest_of_its_chunk() -> None:
    stream = reader()
    stream.feed(event(piece("a", usage=[])))
    assert stream.content_seen
    stream.feed(event(piece(None, "stop", usage="none")))
    assert stream.finished


@pytest.mark.parametrize("noise", [b"ping", b"[PING]", b"keep-alive", b"[done]", b"DONE"])
@pytest.mark.parametrize("together", [True, False])
def test_noise_that_is_not_json_is_dropped(noise: bytes, together: bool) -> None:
    said = b"data: " + noise + b"\n\n"
    relayed = [event(piece("a")), event(piece("b")), event(piece(None, "stop"))]
    sent = [said, relayed[0], said, relayed[1], said, relayed[2], said]
    stream = reader()
    out = b"".join(map(stream.feed, [b"".join(sent)] if together else sent)) + stream.end()
    assert out == b"".join(relayed)
    assert (stream.finished, stream.refusal) == (True, None)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_event_with_other_line_ends_does_not_pass_unread(end: bytes, is_first: bool) -> None:
    plain = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    stop = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]' + (
        b',"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}' + end
    )
    stream = OpenAIReplyStream(choices=1, hide_usage=False, event_limit=1 << 20)
    stream.feed(plain)
    assert stream.plain_event_end()
    stream.feed((b"" if is_first else plain) + stop + plain)
    assert stream.finished
    assert stream.usage is not None
