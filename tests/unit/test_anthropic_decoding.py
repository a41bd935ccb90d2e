"""How Anthropic's answers, errors and streams reach OpenAI's clients, case by case."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_wire import FOLDER, chat, recording
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()
ASKED = chat({"messages": [], "stream": True})
LEGACY = chat({"prompt": "x", "stream": True}, endpoint="completions")


def message(*content: dict[str, Any], **fields: Any) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 2}
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
    }
    return json.dumps(body | {"stop_reason": "end_turn", "usage": usage} | fields).encode()


def choice(body: bytes, request: Any = ASKED) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(ADAPTER.decode(body, request).body)["choices"][0]
    return made


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def reader(request: Any = ASKED) -> AnthropicStream:
    return AnthropicStream(request, event_limit=1 << 16)


def heard(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(part[6:]) for part in out.split(b"\n\n") if part.startswith(b"data: ")]


START = event("message_start", message={"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3}})
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HELLO = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
STOP = event("content_block_stop", index=0)
DELTA = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
END = event("message_stop")


# --- whole ---


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("model_context_window_exceeded", "length"), ("pause_turn", "length"), ("refusal", "content_filter"),
        ("a_new_one", "stop"), (None, "stop"),
    ],
)  # fmt: skip
def test_finish_reasons(stop_reason: str | None, finish_reason: str) -> None:
    body = message({"type": "text", "text": "x"}, stop_reason=stop_reason)
    assert choice(body)["finish_reason"] == finish_reason
    events, _ = read_whole_reply(ADAPTER, body, ASKED)
    assert [one["choices"][0]["finish_reason"] for one in heard(events)[:-1]][-1] == finish_reason


def test_a_refusal_is_told_with_its_reason_or_without() -> None:
    details = {"type": "refusal", "category": None, "explanation": "Because."}
    assert choice(message(stop_reason="refusal", stop_details=details))["message"] == {
        "role": "assistant", "content": None, "refusal": "Because.",
    }  # fmt: skip
    said = choice(message({"type": "text", "text": "Well"}, stop_reason="refusal"))["message"]
    assert (said["content"], said["refusal"]) == ("Well", "The model declined to answer.")


def test_cached_and_thinking_tokens_are_among_the_others() -> None:
    usage = {
        "input_tokens": 50, "cache_creation_input_tokens": 248, "cache_read_input_tokens": 1800,
        "output_tokens": 503, "output_tokens_details": {"thinking_tokens": 400},
    }  # fmt: skip
    assert ADAPTER.decode(message(usage=usage), ASKED).usage == Usage(
        prompt_tokens=2098, completion_tokens=503, total_tokens=2601, cached_tokens=1800, reasoning_tokens=400
    )


@pytest.mark.parametrize("usage", [None, {"input_tokens": 5}, {"input_tokens": -1, "output_tokens": 1}])
def test_counts_that_cannot_be_trusted_are_none(usage: Any) -> None:
    assert ADAPTER.decode(message(usage=usage), ASKED).usage is None


def test_blocks_that_nobody_asked_for_are_passed_over() -> None:
    body = message(
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "text", "text": "Found.", "citations": [{"type": "web_search_result_location"}]},
    )
    assert choice(body)["message"]["content"] == "Found."
    assert "tool_calls" not in choice(body)["message"]


def test_arguments_keep_every_digit() -> None:
    body = message({"type": "tool_use", "id": "t", "name": "f", "input": {}}).replace(
        b'"input": {}', b'"input": {"n": 1e400, "m": 12345678901234567890123}'
    )
    (call,) = choice(body)["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"n": 1e400, "m": 12345678901234567890123}'


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"{", b"\xff", b'{"choices": []}', message()[:-1],
        b'{"type": "error", "error": {"type": "api_error", "message": "x"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_message_is_nonsense(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode(body, ASKED)
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, body, ASKED)


def test_a_legacy_completion_has_its_own_shape() -> None:
    body = message({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Yes"})
    assert choice(body, LEGACY) == {"index": 0, "text": "Yes", "logprobs": None, "finish_reason": "stop"}
    events, _ = read_whole_reply(ADAPTER, body, LEGACY)
    assert [one["choices"][0]["text"] for one in heard(events) if one["choices"]] == ["Yes", ""]
    assert {one["object"] for one in heard(events)} == {"text_completion"}


# --- errors ---


@pytest.mark.parametrize(
    ("name", "kind", "code", "about"),
    [
        ("400_invalid_request", "invalid_request_error", None, None),
        ("400_prompt_too_long", "invalid_request_error", "context_length_exceeded", "context_length"),
        ("400_content_filter", "invalid_request_error", "content_policy_violation", "content_policy"),
        ("401_authentication", "authentication_error", "invalid_api_key", None),
        ("402_billing", "insufficient_quota", "insufficient_quota", None),
        ("403_permission", "permission_error", "permission_denied", None),
        ("404_not_found", "invalid_request_error", "model_not_found", None),
        ("429_rate_limit", "rate_limit_error", "rate_limit_exceeded", None),
        ("500_api", "server_error", "api_error", None),
        ("504_timeout", "server_error", "timeout", None),
        ("529_overloaded", "server_error", "overloaded", None),
    ],
)
def test_errors_speak_openais_language(name: str, kind: str, code: str | None, about: Any) -> None:
    body = (FOLDER / "errors" / f"{name}.json").read_bytes()
    told = ADAPTER.decode_error(body)
    assert told == UpstreamErrorBody(
        message=json.loads(body)["error"]["message"], type=kind, code=code, about=about
    )


def test_a_stable_code_of_anthropics_own_is_kept() -> None:
    error = {"type": "invalid_request_error", "message": "x", "details": {"error_code": "tool_name_conflict"}}
    assert ADAPTER.decode_error(json.dumps({"error": error}).encode()).code == "tool_name_conflict"
    unknown = {"type": "a_new_error", "message": "x"}
    assert ADAPTER.decode_error(json.dumps({"error": unknown}).encode()).type == "a_new_error"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 5}', b"\xff\xfe"])
def test_error_bodies_without_sense_say_nothing(body: bytes) -> None:
    assert ADAPTER.decode_error(body) == UpstreamErrorBody()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": [{}]}', Path(__file__).read_bytes()])
def test_a_list_of_models_that_is_none_is_nonsense(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode_models(body)


# --- streamed ---


def test_content_is_seen_with_the_first_words_and_not_before() -> None:
    stream = reader()
    opening = stream.feed(START + TEXT + event("ping"))
    assert heard(opening)[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert opening.endswith(b": ping\n\n")
    assert (stream.content_seen, stream.done) == (False, False)
    assert heard(stream.feed(HELLO))[0]["choices"][0]["delta"] == {"content": "Hello"}
    assert stream.content_seen
    assert (stream.finished, stream.done, stream.usage) == (False, False, None)
    ending = heard(stream.feed(STOP + DELTA))
    assert ending[0]["choices"][0]["finish_reason"] == "stop"
    assert ending[1]["choices"] == []
    assert ending[1]["usage"]["total_tokens"] == 5
    assert (stream.finished, stream.done) == (True, False)
    assert stream.feed(END + HELLO) == b""
    assert (stream.finished, stream.done) == (True, True)


def test_usage_is_told_to_whoever_asked_alone() -> None:
    stream = reader(chat({"messages": [], "stream": True}, wants_usage=False))
    out = heard(stream.feed(START + TEXT + HELLO + STOP + DELTA + END))
    assert all("usage" not in one for one in out)
    assert stream.usage is not None


def test_an_error_ends_the_stream_and_nothing_follows() -> None:
    stream = reader()
    out = stream.feed(recording("broken_off").stream + HELLO)
    assert [one["choices"][0]["delta"] for one in heard(out)] == [{"role": "assistant"}, {"content": "Hello"}]
    assert stream.refusal == UpstreamErrorBody(message="Overloaded", type="server_error", code="overloaded")
    assert not stream.done
    assert not stream.finished


def test_an_end_without_a_reason_to_stop_is_no_end() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + END)
    assert not stream.done
    assert not stream.finished
    assert stream.end() == b""


def test_half_a_last_event_is_no_event_and_a_whole_one_is() -> None:
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + DELTA[:-20])
    assert (stream.end(), stream.finished) == (b"", False)
    stream = reader()
    stream.feed(START + TEXT + HELLO + STOP + DELTA[:-1])
    assert heard(stream.end())[0]["choices"][0]["finish_reason"] == "stop"
    assert stream.finished


def test_events_and_pieces_of_a_later_day_are_passed_over() -> None:
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
def test_events_that_make_no_sense_are_said_so(data: bytes) -> None:
    with pytest.raises(BadReply):
        reader().feed(data)


def test_an_event_without_end_is_given_up() -> None:
    with pytest.raises(BadReply):
        reader().feed(b"data: " + b"x" * (1 << 17))


def test_what_a_block_begins_with_counts() -> None:
    stream = reader()
    block = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    words = event("content_block_start", index=0, content_block={"type": "text", "text": "Hel"})
    out = heard(stream.feed(START + words + HELLO + STOP))
    assert [one["choices"][0]["delta"].get("content") for one in out] == [None, "Hel", "Hello"]
    out = heard(stream.feed(event("content_block_start", index=1, content_block=block) + STOP))
    (first,), (second,) = (one["choices"][0]["delta"]["tool_calls"] for one in out)
    assert first == {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert second == {"index": 0, "function": {"arguments": '{"a": 1}'}}


def test_long_thinking_is_soon_put_together() -> None:
    stream = AnthropicStream(ASKED, event_limit=64 << 20)
    begin = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    piece = event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "x" * 1000})
    stream.feed(START + begin)
    begun = time.monotonic()
    for _ in range(150):
        stream.feed(piece * 100)
    # Some ten times what it takes; copying all that was thought for each piece takes ten times this.
    assert time.monotonic() - begun < 4
    (detail,) = heard(stream.feed(STOP))[0]["choices"][0]["delta"]["reasoning_details"]
    assert detail["text"] == "x" * 15_000_000


def test_a_legacy_stream_has_words_alone() -> None:
    stream = reader(LEGACY)
    thinking = recording("interleaved_thinking").stream
    out = heard(stream.feed(thinking))
    assert [one["choices"][0]["text"] for one in out if one["choices"]] == ["Let me look.", ""]
    assert stream.usage is not None


def test_what_was_relayed_is_kept_until_the_usage_is_known() -> None:
    stream = reader()
    out = stream.feed(START + TEXT + HELLO)
    assert stream.sample().total_bytes == len(out)
    assert b"".join(stream.sample().blocks) == out
    stream.feed(STOP + DELTA)
    assert stream.sample().blocks == ()
