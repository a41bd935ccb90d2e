"""Whole replies of chats, completions and embeddings: which are answers, and the forms that servers write them in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.providers.openai.whole_replies import read_reply
from llm_gateway.wire.errors import BadReply
from tests.fakes.openai_requests import model_request

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
MESSAGE = {"role": "assistant", "content": "Hi"}
CHAT = {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}], "usage": USAGE}
TEXT = {"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}], "usage": USAGE}
VECTORS = {"data": [{"index": 0, "embedding": [0.5]}], "usage": USAGE}
ANSWERS: dict[EndpointName, dict[str, Any]] = {
    "chat/completions": CHAT,
    "completions": TEXT,
    "embeddings": VECTORS,
}


def chat(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **more}]}


@pytest.mark.parametrize("endpoint", ANSWERS)
def test_an_answer_passes_byte_for_byte_and_its_usage_is_read(endpoint: EndpointName) -> None:
    body = json.dumps(ANSWERS[endpoint]).encode()
    completion = read_reply(body, model_request(endpoint))
    assert (completion.body, completion.refusal) == (body, None)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 3


NO_ANSWERS: dict[str, Any] = {
    "empty": {},
    "choices null": {"choices": None},
    "no choices": {"choices": []},
    "choices of another type": {"choices": {"0": CHAT["choices"]}},
    "choice null": {"choices": [None]},
    "choice empty": {"choices": [{}]},
    "no message": {"choices": [{"index": 0, "finish_reason": "stop"}]},
    "message null": {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
    "message without content": {"choices": [{"message": {"role": "assistant", "content": ""}}]},
    "data null": {"data": None},
    "no vectors": {"data": []},
    "vector null": {"data": [None]},
    "vector empty": {"data": [{}]},
    "embedding null": {"data": [{"index": 0, "embedding": None}]},
    "embedding empty": {"data": [{"index": 0, "embedding": []}]},
    "second embedding null": {"data": [{"embedding": [0.5]}, {"embedding": None}]},
    "second embedding empty": {"data": [{"embedding": [0.5]}, {"embedding": []}]},
    "list": [],
    "number": 5,
    "text": "Hi",
    "null": None,
    "a wrapped success": {"code": 0, "msg": "success", "data": {}},
}


@pytest.mark.parametrize("value", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
@pytest.mark.parametrize("endpoint", ANSWERS)
def test_json_without_an_answer_is_a_bad_reply(endpoint: EndpointName, value: Any) -> None:
    with pytest.raises(BadReply):
        read_reply(json.dumps(value).encode(), model_request(endpoint, input="a"))


@pytest.mark.parametrize("body", [b"", b" ", b"<html>", b"\xff", b"data:", b": ping\n\n", b"[" * 9999])
@pytest.mark.parametrize("endpoint", ANSWERS)
def test_a_body_that_is_neither_json_nor_a_stream_is_a_bad_reply(endpoint: EndpointName, body: bytes) -> None:
    with pytest.raises(BadReply):
        read_reply(body, model_request(endpoint))


ERRORS: list[dict[str, Any]] = [
    {"error": {"message": "insufficient balance", "code": 402}},
    {"error": "insufficient balance"},
    {"code": 401, "msg": "insufficient balance"},
    {"code": "NoMoney", "message": "insufficient balance", "success": False},
    {"object": "error", "message": "insufficient balance", "type": "BadRequestError", "code": 400},
    {"type": "error", "error": {"type": "billing", "message": "insufficient balance"}},
    {"detail": "insufficient balance"},
    {"error": {"message": "insufficient balance"}, "choices": []},
    {"error": {"message": "insufficient balance"}, "choices": None, "data": None},
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("endpoint", ANSWERS)
def test_an_error_of_any_shape_is_a_refusal(endpoint: EndpointName, error: dict[str, Any]) -> None:
    for body in (json.dumps(error).encode(), b"data: " + msgspec.json.encode(error) + b"\n\n"):
        refusal = read_reply(body, model_request(endpoint)).refusal
        assert refusal is not None
        assert refusal.message == "insufficient balance"


@pytest.mark.parametrize("reason", ["error", "abort", "network_error", "insufficient_system_resource"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
def test_a_finish_reason_that_reports_a_failure_is_a_refusal(endpoint: EndpointName, reason: str) -> None:
    body = msgspec.json.encode(ANSWERS[endpoint]).replace(b'"stop"', msgspec.json.encode(reason))
    assert read_reply(body, model_request(endpoint)).refusal is not None


def test_the_error_of_a_choice_is_told() -> None:
    failed = chat({"role": "assistant", "content": "Hal"}, "error", error={"code": 502, "message": "gone"})
    refusal = read_reply(msgspec.json.encode(failed), model_request()).refusal
    assert refusal is not None
    assert (refusal.message, refusal.code) == ("gone", "502")


@pytest.mark.parametrize(
    "value",
    [
        # Nothing to say, said properly.
        chat({"role": "assistant", "content": ""}),
        chat({"role": "assistant", "content": None}),
        chat({"role": "assistant", "content": None, "refusal": "No."}),
        chat({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "tool_calls"),
        chat({"role": "assistant", "content": ""}, "length"),
        # Azure leaves the message out.
        {"choices": [{"index": 0, "finish_reason": "content_filter", "content_filter_results": {}}]},
        # Reasons of other servers, and none.
        chat(MESSAGE, "eos"),
        chat(MESSAGE, None),
        chat(MESSAGE, ""),
        chat(MESSAGE, "null"),
        chat(MESSAGE, {"type": "stop"}),
        {"choices": [{"message": MESSAGE}]},
        {"choices": [{"index": None, "message": {"reasoning_content": "Hm"}}]},
        {**chat(MESSAGE), "error": False},
        {**chat(MESSAGE), "error": None, "code": 0, "msg": "ok"},
    ],
)
def test_whatever_a_client_can_read_is_an_answer(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    completion = read_reply(body, model_request())
    assert (completion.body, completion.refusal) == (body, None)


def test_no_input_has_no_embeddings() -> None:
    body = b'{"object":"list","data":[]}'
    assert read_reply(body, model_request("embeddings", input=[])).refusal is None


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b'"\xff"', b"NaN", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("endpoint", ANSWERS)
def test_what_strict_json_forbids_passes_as_it_is(endpoint: EndpointName, odd: bytes) -> None:
    body = msgspec.json.encode(ANSWERS[endpoint]).replace(b'"index":0', b'"index":0,"odd":' + odd)
    completion = read_reply(body, model_request(endpoint))
    assert (completion.body, completion.refusal) == (body, None)
    assert completion.usage is not None


@pytest.mark.parametrize("prelude", [b"\xef\xbb\xbf", b": waiting\n\n: waiting\r\n\r\n", b"\n: a\n\n" * 9999])
def test_what_a_server_sends_while_a_client_waits_is_left_out(prelude: bytes) -> None:
    body = msgspec.json.encode(CHAT)
    assert read_reply(prelude + body, model_request()).body == body


def test_comments_without_end_are_no_answer() -> None:
    with pytest.raises(BadReply):
        read_reply(b": waiting\n\n" * 200_000 + json.dumps(CHAT).encode(), model_request())


@pytest.mark.parametrize("endpoint", ANSWERS)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"", b"\n\ndata: [DONE]\n\n"])
def test_a_whole_reply_in_an_event_is_the_reply(endpoint: EndpointName, end: bytes) -> None:
    body = msgspec.json.encode(ANSWERS[endpoint])
    completion = read_reply(b": ping\n\nevent: message\ndata: " + body + end, model_request(endpoint))
    assert completion.body == body
    assert completion.usage is not None


def events(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def delta(delta: dict[str, Any], finish: Any = None, index: Any = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("end", [DONE, b""])
def test_a_stream_in_place_of_a_whole_reply_is_joined(end: bytes) -> None:
    stream = events(
        delta({"role": "assistant", "content": ""}),
        delta({"content": "He"}),
        delta({"content": "llo \ud83d"}),
        delta({}, "stop"),
        {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": USAGE},
    )
    completion = read_reply(stream + end, model_request())
    assert completion.refusal is None
    assert completion.usage is not None
    assert completion.usage.total_tokens == 5
    assert json.loads(completion.body) == {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello \ud83d"},
            }
        ],
        "usage": USAGE,
    }


def test_the_calls_of_a_stream_are_joined_by_their_index() -> None:
    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}

    stream = events(
        delta({"role": "assistant", "content": None}),
        delta({"tool_calls": [call(0, "", id="x", type="function", function={"name": "f"})]}),
        delta({"tool_calls": [call(1, "", id="y", type="function", function={"name": "g"})]}),
        delta({"tool_calls": [call(0, '{"a"', id="x"), call(1, "{}", id="")]}),
        delta({"tool_calls": [call(0, ":1}")]}, "tool_calls"),
    )
    message = json.loads(read_reply(stream, model_request()).body)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_the_choices_of_a_stream_are_joined_by_their_index() -> None:
    stream = events(
        delta({"content": "a"}, index=1), delta({"content": "b"}), delta({}, "stop"), delta({}, "length", 1)
    )
    choices = json.loads(read_reply(stream, model_request(n=2)).body)["choices"]
    assert [(one["index"], one["message"]["content"], one["finish_reason"]) for one in choices] == [
        (0, "b", "stop"),
        (1, "a", "length"),
    ]


def test_a_stream_of_a_legacy_completion_is_joined() -> None:
    pieces = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("He", "llo")]
    stream = events(*pieces) + DONE
    reply = json.loads(read_reply(stream, model_request("completions", prompt="a")).body)
    assert reply == {
        "object": "text_completion",
        "choices": [{"index": 0, "text": "Hello", "finish_reason": None}],
    }


@pytest.mark.parametrize("end", [b"", events({}), b'data: {"choices":[{"ind'])
def test_a_cut_stream_in_place_of_a_whole_reply_is_a_bad_reply(end: bytes) -> None:
    stream = events(delta({"role": "assistant"}), delta({"content": "Hel"}))
    with pytest.raises(BadReply):
        read_reply(stream + end, model_request())


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
def test_the_end_of_a_stream_alone_is_a_refusal(endpoint: EndpointName) -> None:
    assert read_reply(DONE, model_request(endpoint)).refusal is not None


@pytest.mark.parametrize("failed", [events({"error": {"message": "gone"}}), events(delta({}, "error"))])
def test_a_failing_stream_in_place_of_a_whole_reply_is_a_refusal(failed: bytes) -> None:
    assert read_reply(events(delta({"content": "Hel"})) + failed + DONE, model_request()).refusal is not None


def test_a_chunk_in_place_of_a_whole_reply_is_one() -> None:
    reply = json.loads(read_reply(json.dumps(delta(MESSAGE, "stop")).encode(), model_request()).body)
    assert (reply["object"], reply["choices"][0]["message"]) == ("chat.completion", MESSAGE)


def test_a_long_stream_is_joined_in_linear_time() -> None:
    choice = {"index": 0, "delta": {"content": "word "}, "logprobs": {"content": [{"token": "word"}]}}
    stream = events({"choices": [choice]}) * 40_000 + DONE
    reply = msgspec.json.decode(read_reply(stream, model_request()).body)
    assert len(reply["choices"][0]["message"]["content"]) == 200_000
    assert len(reply["choices"][0]["logprobs"]["content"]) == 40_000


def test_a_stream_that_is_too_long_to_be_joined_is_a_bad_reply() -> None:
    stream = events(delta({"content": "x" * 100_000})) * 90 + DONE
    with pytest.raises(BadReply, match="too long"):
        read_reply(stream, model_request())
