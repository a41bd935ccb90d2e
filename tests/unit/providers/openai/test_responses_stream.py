"""Streams of the Responses API: what is relayed, what is read from them, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.errors import UpstreamFailed, UpstreamRefused
from llm_gateway.providers.openai import responses_stream
from llm_gateway.providers.openai.responses import read_response
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from llm_gateway.surfaces.openai.dialect import RESPONSE
from llm_gateway.wire.errors import BadReply
from tests.fakes.responses_wire import response, response_events
from tests.fakes.script import Script, Tool

REQUEST = {"model": "m", "input": "hello"}
CALL = Tool(id="call_1", name="weather", arguments='{"city": "Zürich"}')


def reader(event_limit: int = 1 << 20) -> ResponsesStream:
    return ResponsesStream(event_limit=event_limit)


def event(kind: str, separators: tuple[str, str] = (",", ":"), *, named: bool = True, **more: Any) -> bytes:
    data = json.dumps({"type": kind, **more}, separators=separators)
    return f"{f'event: {kind}' + chr(10) if named else ''}data: {data}\n\n".encode()


def sent_events(plan: Script, *, named: bool = True) -> list[bytes]:
    events = response_events(1, plan, REQUEST, "fake")
    return [event(one.pop("type"), named=named, **one) for one in events]


def piece(text: str, number: int = 4) -> bytes:
    return event("response.output_text.delta", delta=text, sequence_number=number)


PLANS = [
    Script(),
    Script(tools=(CALL,)),
    Script(reasoning=("I think ", "so"), text="a b c"),
    Script(finish_reason="length"),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_a_response_is_relayed_unchanged(plan: Script, named: bool, together: bool) -> None:
    sent = sent_events(plan, named=named)
    stream = reader()
    out = b"".join(map(stream.feed, [b"".join(sent)] if together else sent))
    assert out == b"".join(sent)
    assert (stream.done, stream.finished, stream.content_seen) == (True, True, True)
    assert stream.refusal is None
    usage = stream.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 4, 13)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (2, 1)
    assert stream.sample().blocks == ()


def test_deltas_are_relayed_without_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    decode = responses_stream._decode_event

    def note(data: bytes) -> Any:
        parsed.append(data)
        return decode(data)

    monkeypatch.setattr(responses_stream, "_decode_event", note)
    stream = reader()
    for block in [piece("a"), piece("b"), piece('say "response.failed" "error"'), piece("c") + piece("d")]:
        assert stream.feed(block) == block
    assert len(parsed) == 1
    stream.feed(piece("e") + event("response.completed", response={"status": "completed"}))
    assert len(parsed) == 3
    assert stream.done


@pytest.mark.parametrize(
    "empty",
    [
        event("response.created", response={"output": []}),
        event("response.queued", response={}),
        event("response.in_progress", response={}),
        event("response.output_item.added", item={"type": "message", "content": [], "role": "assistant"}),
        event("response.output_item.added", item={"type": "reasoning", "summary": []}),
        event("response.content_part.added", part={"type": "output_text", "text": "", "annotations": []}),
        event("response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""}),
        event("response.output_text.delta", delta=""),
        event("keepalive"),
        b": ping\n\n",
    ],
)
def test_events_without_content_do_not_commit(empty: bytes) -> None:
    stream = reader()
    assert stream.feed(empty) == empty
    assert not stream.content_seen


@pytest.mark.parametrize(
    "full",
    [
        piece("x"),
        event("response.reasoning_summary_text.delta", delta="x"),
        event("response.reasoning_text.delta", delta="x"),
        event("response.refusal.delta", delta="x"),
        event("response.function_call_arguments.delta", delta="{"),
        event("response.output_item.added", item={"type": "function_call", "name": "f", "arguments": ""}),
        event("response.output_item.added", item={"type": "message", "content": [{"text": "x"}]}),
        event("response.content_part.added", part={"type": "output_text", "text": "x"}),
        event("response.something_new", what=1),
        event("response.incomplete", response={"status": "incomplete"}),
    ],
)
def test_events_with_content_of_any_kind_commit(full: bytes) -> None:
    stream = reader()
    assert stream.feed(full) == full
    assert stream.content_seen


@pytest.mark.parametrize("style", [(",", ":"), (", ", ": "), (" , ", " : ")])
@pytest.mark.parametrize("named", [True, False])
def test_any_spacing_of_json_is_understood(style: tuple[str, str], named: bool) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    sent = [
        event("response.output_text.delta", style, named=named, delta="a"),
        event("response.output_text.delta", style, named=named, delta="b"),
        event("response.completed", style, named=named, response={"status": "completed", "usage": usage}),
    ]
    stream = reader()
    assert b"".join(map(stream.feed, sent)) == b"".join(sent)
    assert stream.done
    assert stream.usage is not None


def test_nothing_follows_the_last_event_and_done_is_not_relayed() -> None:
    last = event("response.completed", response={"status": "completed"})
    stream = reader()
    assert stream.feed(piece("a") + b"data: [DONE]\n\n" + last + piece("late")) == piece("a") + last
    assert stream.usage is None


def test_done_without_a_last_event_does_not_end_the_stream() -> None:
    stream = reader()
    assert stream.feed(piece("a")) + stream.feed(b"data: [DONE]\n\n") == piece("a")
    assert (stream.done, stream.finished) == (False, False)


@pytest.mark.parametrize(
    ("bad", "message", "code"),
    [
        (event("error", message="boom", code="died", param=None), "boom", "died"),
        (event("error", error={"message": "boom", "code": "died"}), "boom", "died"),
        (b'data: {"error":{"message":"boom","code":"died"}}\n\n', "boom", "died"),
        (b'event: error\ndata: {"message":"boom","code":"died"}\n\n', "boom", "died"),
        (event("response.failed", response={"error": {"message": "boom", "code": "died"}}), "boom", "died"),
        (event("response.failed", response={"error": None}), "The provider failed to answer.", None),
        (event("response.failed", response=5), "The provider failed to answer.", None),
        (b"event: error\ndata: [1]\n\n", "The provider failed to answer.", None),
    ],
)
@pytest.mark.parametrize("before", [b"", piece("a")])
def test_failures_are_detected_and_not_relayed(
    bad: bytes, message: str, code: str | None, before: bytes
) -> None:
    stream = reader()
    assert stream.feed(before + bad + piece("late")) == before
    assert stream.refusal is not None
    assert (stream.refusal.message, stream.refusal.code) == (message, code)
    assert stream.refusal.type == "server_error"
    assert not stream.done


def test_text_that_looks_like_a_failure_is_text() -> None:
    said = [piece('{"type":"error"} response.failed [DONE]'), piece("event: error"), piece("x")]
    stream = reader()
    assert b"".join(map(stream.feed, said)) == b"".join(said)
    assert (stream.refusal, stream.done) == (None, False)


def test_the_error_event_continues_the_numbering() -> None:
    stream = reader()
    stream.feed(piece("a", 7))
    stream.feed(piece('"sequence_number":99', 8))
    ended = RESPONSE.stream_error(UpstreamFailed("It broke.", code="upstream_cut"), stream.tail).decode()
    assert ended.startswith("event: error\ndata: {")
    assert ended.endswith("}\n\n")
    data = json.loads(ended.partition("data: ")[2])
    said = {"message": "It broke.", "code": "upstream_cut", "param": None}
    assert data == {
        **said,
        "type": "error",
        "sequence_number": 9,
        "error": {**said, "type": "upstream_error"},
    }


def test_a_failed_response_keeps_all_but_the_providers_message() -> None:
    failed = {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "server_error", "message": "sk-secret at host", "trace": "sk-secret"},
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    }
    stream = reader()
    stream.feed(piece("a") + event("response.failed", response=failed, sequence_number=5))
    assert stream.usage is not None
    error = UpstreamRefused("[secret] at [provider]", status=200, type="server_error", code="server_error")
    ended = RESPONSE.stream_error(error, stream.tail)
    assert ended.startswith(b"event: response.failed\n")
    assert b"sk-secret" not in ended
    data = json.loads(ended.partition(b"data: ")[2])
    assert (data["type"], data["sequence_number"]) == ("response.failed", 5)
    assert data["response"]["id"] == "resp_1"
    assert data["response"]["error"]["message"] == "[secret] at [provider]"


def test_events_of_an_unknown_shape_are_relayed() -> None:
    odd = [
        piece("a"),
        event("response.output_item.added", item="none", error=5),
        b'data: [1,2,"error"]\n\n',
        b'data: "half an error"\ndata:\n\n',
    ]
    stream = reader()
    assert b"".join(map(stream.feed, odd)) == b"".join(odd)
    last = event("response.completed", response={"usage": "much"})
    assert stream.feed(last) == last
    assert (stream.done, stream.usage) == (True, None)


def test_an_unreadable_event_before_the_first_content_is_a_bad_reply() -> None:
    with pytest.raises(BadReply):
        reader().feed(b"data: <html>\n\n")
    with pytest.raises(BadReply):
        reader(event_limit=100).feed(b"data: " + b"x" * 200)


@pytest.mark.parametrize(
    "broken", [b'data: {"type":"response.output_text.delta","de\n\n', b"data: {no json}\n\n"]
)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_an_unreadable_event_after_the_first_content_ends_the_stream(
    broken: bytes, named: bool, together: bool
) -> None:
    pieces = [
        event("response.output_text.delta", named=named, delta=text, sequence_number=number)
        for number, text in enumerate("abc")
    ]
    stream = reader()
    out = []
    for data in [b"".join([*pieces, broken, *pieces])] if together else [*pieces, broken, *pieces]:
        out.append(stream.feed(data))
        if stream.refusal is not None:
            break
    assert b"".join(out) == b"".join(pieces)
    assert stream.refusal is not None
    assert stream.refusal.code == "upstream_bad_reply"


def test_a_last_event_without_its_blank_line_is_relayed_and_half_an_event_is_not() -> None:
    last = event("response.completed", response={"status": "completed"})
    stream = reader()
    stream.feed(piece("a") + last[:-2])
    assert stream.end() == last
    assert stream.done
    stream = reader()
    stream.feed(piece("a") + last[:-10])
    assert stream.end() == b""
    assert not stream.finished


def test_a_long_stream_is_sampled_and_its_size_counted() -> None:
    stream = reader()
    block = piece("word " * 200)
    for _ in range(1000):
        stream.feed(block)
    sample = stream.sample()
    assert sample.total_bytes == 1000 * len(block)
    assert 0 < sample.sampled_bytes <= 256 * 1024
    assert sum(map(len, sample.blocks)) == sample.sampled_bytes


@pytest.mark.parametrize("plan", PLANS)
def test_a_json_reply_is_read_as_its_events(plan: Script) -> None:
    body = json.dumps(response(1, plan, REQUEST, "fake")).encode()
    stream = reader()
    assert stream.whole(body).startswith(b"event: response.created\n")
    assert stream.done
    assert stream.usage is not None
    assert stream.usage == read_response(body).usage


def test_a_json_reply_of_a_failed_response_is_a_refusal() -> None:
    body = b'{"status":"failed","output":[],"error":{"code":"server_error","message":"boom"}}'
    stream = reader()
    stream.whole(body)
    assert stream.refusal is not None
    assert (stream.refusal.message, stream.done) == ("boom", False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status":"completed"}'])
def test_a_json_reply_that_is_no_response_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        reader().whole(body)
