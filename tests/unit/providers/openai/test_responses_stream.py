"""Streams of the Responses API: what is relayed, what is read from them, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.errors import UpstreamFailed, UpstreamRefused
from llm_gateway.core.ledger.usage import StatedUsage, Usage
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
    # The counts might have been zero beside words.
    assert b"".join(stream.sample().blocks) == out


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
        event("response.incomplete", response={"status": "incomplete", "output": []}),
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


def ended(stream: ResponsesStream, error: UpstreamFailed | UpstreamRefused) -> tuple[Any, Any]:
    """Return the data of the two events that end a failed stream."""
    events = RESPONSE.stream_error(error, stream.tail).decode().split("\n\n")
    assert events.pop() == ""
    for one, name in zip(events, ["response.failed", "error"], strict=True):
        assert one.startswith(f"event: {name}\ndata: {{")
    failed, last = (json.loads(one.partition("data: ")[2]) for one in events)
    assert (failed["type"], last["type"]) == ("response.failed", "error")
    return failed, last


def test_the_last_events_continue_the_numbering_and_have_the_response() -> None:
    stream = reader()
    stream.feed(event("response.created", response={"id": "resp_1", "model": "m", "status": "in_progress"}))
    stream.feed(piece("a", 7))
    stream.feed(piece('"sequence_number":99', 8))
    failed, last = ended(stream, UpstreamFailed("It broke.", code="upstream_cut"))
    said = {"message": "It broke.", "code": "upstream_cut", "param": None}
    error = {**said, "type": "upstream_error"}
    assert last == {**said, "type": "error", "sequence_number": 10, "error": error}
    assert failed == {
        "type": "response.failed",
        "sequence_number": 9,
        "response": {"id": "resp_1", "model": "m", "status": "failed", "error": error},
    }


def test_a_failed_response_keeps_all_but_the_providers_message() -> None:
    response_ = {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "server_error", "message": "sk-secret at host", "trace": "sk-secret"},
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    }
    stream = reader()
    stream.feed(piece("a") + event("response.failed", response=response_, sequence_number=5))
    assert stream.usage is not None
    error = UpstreamRefused("[secret] at [provider]", status=200, type="server_error", code="server_error")
    failed, last = ended(stream, error)
    assert "sk-secret" not in str((failed, last))
    assert (failed["sequence_number"], last["sequence_number"]) == (5, 6)
    assert failed["response"]["id"] == "resp_1"
    assert failed["response"]["error"]["message"] == last["message"] == "[secret] at [provider]"


@pytest.mark.parametrize("heartbeat", [b"data:\n\n", b"event: keepalive\ndata: \n\n"])
def test_a_heartbeat_without_data_is_dropped(heartbeat: bytes) -> None:
    sent = sent_events(Script())
    stream = reader()
    assert b"".join(stream.feed(heartbeat + one) for one in sent) == b"".join(sent)
    assert stream.done


ODD: list[dict[str, Any]] = [
    {"item": 5},
    {"part": []},
    {"response": 5},
    {"item": {"type": 5, "content": "x"}},
]


@pytest.mark.parametrize("odd", [*ODD, {"usage": []}, {"error": False}, {"error": None}])
def test_an_unreadable_field_hides_no_other(odd: dict[str, Any]) -> None:
    stream = reader()
    full = event("response.output_text.delta", delta="x", **odd)
    assert stream.feed(full) == full
    assert (stream.content_seen, stream.refusal) == (True, None)


@pytest.mark.parametrize("odd", ["\ud83d", float("nan")])
def test_what_strict_json_forbids_does_not_end_a_stream(odd: Any) -> None:
    sent = [event(one.pop("type"), odd=odd, **one) for one in response_events(1, Script(), REQUEST, "fake")]
    stream = reader()
    assert b"".join(map(stream.feed, sent)) == b"".join(sent)
    assert (stream.done, stream.refusal) == (True, None)
    assert stream.usage is not None


def test_an_unreadable_usage_does_not_hide_the_end() -> None:
    stream = reader()
    stream.feed(event("response.completed", response={"status": "completed", "output": [], "usage": []}))
    assert (stream.done, stream.usage) == (True, None)


@pytest.mark.parametrize(
    "response_",
    [
        None,
        {},
        {"status": "completed"},
        {"output": []},
        {"status": "failed"},
        {"status": "cancelled", "output": []},
    ],
)
def test_an_end_without_an_answer_is_a_refusal(response_: Any) -> None:
    stream = reader()
    assert stream.feed(event("response.completed", response=response_)) == b""
    assert stream.refusal is not None
    assert not stream.done


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_end_that_says_failed_is_a_refusal_after_content_too(status: str) -> None:
    stream = reader()
    stream.feed(piece("a"))
    assert stream.feed(event("response.completed", response={"status": status, "output": [{}]})) == b""
    assert stream.refusal is not None


def test_an_end_without_its_response_is_one_after_content() -> None:
    stream = reader()
    stream.feed(piece("a"))
    stream.feed(event("response.completed"))
    assert stream.done


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "boom"}},
        {"error": "boom"},
        {"object": "error", "message": "boom"},
        {"code": 5, "msg": "boom"},
    ],
)
@pytest.mark.parametrize("bare", [True, False])
def test_an_error_of_any_shape_is_a_refusal(error: Any, bare: bool) -> None:
    stream = reader()
    stream.feed(piece("a"))
    assert stream.feed((b"" if bare else b"data: ") + json.dumps(error).encode() + b"\n\n") == b""
    assert stream.refusal is not None
    assert stream.refusal.message == "boom"


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


@pytest.mark.parametrize("kind", ["response.created", "response.in_progress"])
@pytest.mark.parametrize("last", [None, "response.completed", "response.failed"])
def test_a_prompt_that_is_stated_at_the_start_is_kept(kind: str, last: str | None) -> None:
    stated = {"input_tokens": 100_025, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 9}}
    stream = reader()
    stream.feed(event(kind, response={"usage": stated}) + piece("a b c"))
    if last is not None:
        stream.feed(
            event(last, response={"status": last.removeprefix("response."), "output": [], "usage": None})
        )
    assert stream.usage == StatedUsage(100_025, None, None, 9, 0)


def test_the_last_usage_replaces_that_of_the_start() -> None:
    stream = reader()
    stream.feed(event("response.created", response={"usage": {"input_tokens": 5}}) + piece("a"))
    usage = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    stream.feed(event("response.completed", response={"status": "completed", "output": [], "usage": usage}))
    assert stream.usage == Usage(7, 2, 9)


def test_noise_that_is_not_json_is_dropped() -> None:
    said = b"data: [PING]\n\n"
    last = event("response.completed", response={"status": "completed", "output": []})
    stream = reader()
    assert stream.feed(said + piece("a") + said + last) == piece("a") + last
    assert (stream.done, stream.refusal) == (True, None)


@pytest.mark.parametrize(("size", "is_repeated"), [(1000, True), (1 << 20, False)])
def test_the_last_event_repeats_no_huge_response(size: int, is_repeated: bool) -> None:
    """It would have to be redacted."""
    stream = reader(1 << 22)
    stream.feed(piece("a"))
    failed = {"id": "resp_1", "status": "failed", "error": {"message": "boom"}, "instructions": "x" * size}
    stream.feed(event("response.failed", response=failed))
    assert stream.refusal is not None
    assert stream.refusal.message == "boom"
    assert (stream.tail.failed_event is not None) == is_repeated


@pytest.mark.parametrize("name", ["item", "part"])
def test_half_a_character_in_place_of_an_object_is_skipped(name: str) -> None:
    stream = reader()
    odd: dict[str, Any] = {name: "half \ud83d", "delta": "\ud83d"}
    sent = piece("a") + event("odd", **odd)
    assert stream.feed(sent) == sent
    assert stream.refusal is None
