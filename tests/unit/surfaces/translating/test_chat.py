"""Texts become canonical chat requests, and canonical replies become texts."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.surfaces.translating.chat import chat_request, reply_text, sse_event, stream_texts


def test_a_request_has_the_parameters_that_are_given() -> None:
    messages = [{"role": "user", "content": "hi"}]
    request = chat_request("m", messages, {"temperature": 0.5, "max_tokens": None}, stream=False)
    assert (request.endpoint, request.model, request.stream) == ("chat/completions", "m", False)
    assert {name: msgspec.json.decode(raw) for name, raw in request.fields.items()} == {
        "model": "m",
        "messages": messages,
        "temperature": 0.5,
    }


def test_raw_json_stays_as_it_is_and_streams_report_their_usage() -> None:
    raw = msgspec.Raw(b'[ {"role":"user"} ]')
    request = chat_request("m", raw, {}, stream=True)
    assert request.fields["messages"] is raw
    assert bytes(request.fields["stream"]) == b"true"
    assert request.wants_usage


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "hello"}, "hello"),
        ({"content": None, "refusal": "I cannot"}, "I cannot"),
        ({"content": None}, ""),
        (
            {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"text": "b"}]},
            "ab",
        ),
        ({}, ""),
    ],
)
def test_the_first_choice_is_the_text(message: object, content: str) -> None:
    body = msgspec.json.encode({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert (reply_text(body).content, reply_text(body).finish_reason) == (content, "stop")


def test_tool_calls_stay_as_they_are() -> None:
    body = (
        b'{"choices":[{"message":{"content":null,"tool_calls":[ {"id":"c"} ]},"finish_reason":"tool_calls"}]}'
    )
    calls = reply_text(body).tool_calls
    assert calls is not None
    assert bytes(calls) == b'[ {"id":"c"} ]'
    for none in (b"null", b"[]"):
        assert reply_text(body.replace(b'[ {"id":"c"} ]', none)).tool_calls is None
    called = reply_text(body.replace(b"tool_calls", b"function_call", 1)).function_call
    assert called is not None
    assert bytes(called) == b'[ {"id":"c"} ]'


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices":[]}', b'{"choices":1}', b"\xff"])
def test_what_is_no_reply_is_an_empty_text(body: bytes) -> None:
    assert reply_text(body).content == ""


def test_a_streams_parts_are_those_of_its_first_choice() -> None:
    events = b"".join(
        sse_event({"choices": [{"index": index, "delta": {"content": text}}]})
        for index, text in ((0, "a"), (1, "other"), (0, "b"))
    )
    events += b": comment\n\n" + sse_event({"choices": [], "usage": {}}) + b"data: nonsense\n\n"
    assert [part.content for part in stream_texts(events)] == ["a", "b"]
