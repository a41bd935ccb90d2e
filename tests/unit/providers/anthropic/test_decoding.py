"""How unary replies are translated, also into the events of an equivalent stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.decoding import events_of, read_reply
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, FunctionCallDelta, ToolCallDelta, is_empty
from tests.fakes.anthropic_replies import ASKED, LEGACY, chunks, message
from tests.fakes.anthropic_wire import WHOLE, Recording, recording
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()


def choice(body: bytes, request: Any = ASKED) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(ADAPTER.decode(body, request).body)["choices"][0]
    return made


def parsed(body: bytes) -> Any:
    """Parse a reply, with the arguments of its calls."""
    reply = json.loads(body)
    for call in reply["choices"][0].get("message", {}).get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return reply


def text_of(events: bytes) -> str:
    """Return the text of a stream's only choice."""
    said = [one["choices"][0]["delta"] for one in chunks(events) if one["choices"]]
    return "".join(delta.get("content") or "" for delta in said)


def test_a_refusal_has_its_explanation_or_a_default() -> None:
    details = {"type": "refusal", "category": None, "explanation": "Because."}
    assert choice(message(stop_reason="refusal", stop_details=details))["message"] == {
        "role": "assistant", "content": None, "refusal": "Because.",
    }  # fmt: skip
    said = choice(message({"type": "text", "text": "Well"}, stop_reason="refusal"))["message"]
    assert (said["content"], said["refusal"]) == ("Well", "The model declined to answer.")


def test_blocks_of_server_tools_are_skipped() -> None:
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


def test_an_empty_message_has_an_empty_content() -> None:
    assert choice(message())["message"]["content"] == ""
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    assert choice(message(thinking))["message"]["content"] == ""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert choice(message(call))["message"]["content"] is None


def test_a_delta_is_empty_without_text_refusal_and_calls() -> None:
    assert is_empty(Delta(reasoning_content="Hm."))
    call = ToolCallDelta(function=FunctionCallDelta(name="f"))
    assert not any(map(is_empty, (Delta(content=""), Delta(refusal="No."), Delta(tool_calls=[call]))))


def test_texts_and_thoughts_are_joined_and_places_counted() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    text = {"type": "text", "text": "Yes"}
    made = choice(message(thought, text, thought, call, thought))["message"]
    assert (made["content"], made["reasoning_content"]) == ("Yes", "Hm.Hm.Hm.")
    places = [
        (one["index"], one.get("after_text", 0), one.get("after_calls", 0))
        for one in made["reasoning_details"]
    ]
    assert places == [(0, 0, 0), (1, 3, 0), (2, 3, 1)]


def test_a_message_becomes_the_events_of_a_stream() -> None:
    reply = read_reply(message({"type": "text", "text": "Yes"}, stop_reason=None))
    events = list(events_of(reply))
    assert [one.type for one in events] == [
        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0].message is not None
    assert (events[0].message.id, events[0].message.model) == ("msg_1", "claude")
    assert events[3].delta is not None
    assert events[3].delta.stop_reason == "end_turn"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"{", b"\xff", b'{"choices": []}', message()[:-1], b"[" * 100_000,
        b'{"type": "message"}', b'{"type": "message", "content": null, "stop_reason": "end_turn"}',
        b'{"type": "message", "content": [{"type": "text", "text": ""}]}',
        b'{"type": "message", "content": []}', b'{"type": "message", "content": [], "stop_reason": ""}',
        b'{"code": 401, "msg": "insufficient balance"}', b'{"object": "error", "message": "busy"}',
        b'{"type": "message", "content": "text", "stop_reason": "end_turn"}', b"data: [DONE]\n\n", b": ping\n\n",
    ],
)  # fmt: skip
def test_a_body_without_an_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode(body, ASKED)
    with pytest.raises(BadReply):
        read_whole_reply(ADAPTER, body, ASKED)


def test_a_legacy_completion_has_its_own_shape() -> None:
    body = message({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Yes"})
    assert choice(body, LEGACY) == {"index": 0, "text": "Yes", "logprobs": None, "finish_reason": "stop"}
    events, _ = read_whole_reply(ADAPTER, body, LEGACY)
    assert [one["choices"][0]["text"] for one in chunks(events) if one["choices"]] == ["Yes", ""]
    assert {one["object"] for one in chunks(events)} == {"text_completion"}


@pytest.mark.parametrize(
    ("body", "message_text"),
    [
        (b'{"type": "error", "error": {"type": "api_error", "message": "x"}}', "x"),
        (b'{"error": {"type": "billing_error", "message": "no balance"}}', "no balance"),
        (message({"type": "text", "text": "Hel"}, error={"type": "api_error", "message": "x"}), "x"),
        (
            message({"type": "text", "text": "Hel"}, stop_reason="error"),
            "The model failed while it answered.",
        ),
    ],
)
def test_a_failure_with_a_success_status_is_a_refusal(body: bytes, message_text: str) -> None:
    refusal = ADAPTER.decode(body, ASKED).refusal
    assert refusal is not None
    assert refusal.message == message_text
    stream = ADAPTER.stream(ASKED, event_limit=1 << 16)
    assert stream.whole(body) == b""
    assert stream.refusal == refusal
    assert not stream.done


@pytest.mark.parametrize("nothing", [None, False, 0, "", {}, [], "null"])
def test_an_error_that_says_nothing_is_no_failure(nothing: Any) -> None:
    body = message({"type": "text", "text": "Yes"}, error=nothing)
    assert choice(body)["message"]["content"] == "Yes"
    assert text_of(read_whole_reply(ADAPTER, body, ASKED)[0]) == "Yes"


ODD: list[dict[str, Any]] = [
    {"usage": []},
    {"usage": {"input_tokens": "3", "output_tokens_details": 7}},
    {"id": None},
    {"model": 7},
    {"stop_details": "text"},
    {"stop_reason": None},
    {"stop_reason": ""},
    {"stop_reason": "null"},
    {"type": None},
    {"content": [{"type": "text", "text": 7}, 7, None, {"type": "text", "text": "Yes", "citations": 7}]},
    {"content": [{"type": "text", "text": "Yes", "signature": 7}]},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_one_odd_field_hides_nothing_else(odd: dict[str, Any]) -> None:
    body = json.dumps(json.loads(message({"type": "text", "text": "Yes"})) | odd).encode()
    assert choice(body)["message"]["content"] == "Yes"
    assert choice(body)["finish_reason"] == "stop"
    made = json.loads(ADAPTER.decode(body, ASKED).body)
    assert (made["id"] in {"msg_1", "chatcmpl-1700000000"}, made["model"] in {"claude", "m"}) == (True, True)
    assert text_of(read_whole_reply(ADAPTER, body, ASKED)[0]) == "Yes"


def test_a_surrogate_without_its_partner_is_replaced() -> None:
    body = rb'{"type":"message","content":[{"type":"text","text":"a\ud83d b\ude00 \ud83d\ude00 \\ud83d"}]}'
    assert choice(body)["message"]["content"] == "a\ufffd b\ufffd \U0001f600 \\ud83d"


def test_a_call_without_a_name_is_a_bad_reply_and_one_without_an_id_gets_one() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": None}
    with pytest.raises(BadReply):
        ADAPTER.decode(message(call | {"name": None}), ASKED)
    (made,) = choice(message(call | {"id": ""}))["message"]["tool_calls"]
    assert made["id"] == "call_0"
    assert made["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)
@pytest.mark.parametrize("asked", [ASKED, LEGACY], ids=["chat", "legacy"])
def test_a_stream_in_reply_to_a_unary_request_says_the_same(one: Recording, asked: Any) -> None:
    assert one.response is not None
    wanted = ADAPTER.decode(one.response, asked)
    for body in (one.stream, b"\n: ping\n\n" + one.stream, one.stream + b"data: [DONE]\n\n"):
        given = ADAPTER.decode(body, asked)
        assert parsed(given.body) == parsed(wanted.body)
        assert given.usage == wanted.usage


def test_a_truncated_stream_in_reply_to_a_unary_request_is_a_bad_reply() -> None:
    stream = recording("text").stream
    with pytest.raises(BadReply):
        ADAPTER.decode(stream[: stream.index(b"event: message_delta")], ASKED)
    refusal = ADAPTER.decode(recording("broken_off").stream, ASKED).refusal
    assert refusal is not None
    assert refusal.message == "Overloaded"
