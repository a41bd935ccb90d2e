"""Streamed completions: the choices that are expected, and JSON in place of a stream."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.providers.openai.chat_stream import ChatStream
from llm_gateway.providers.registry import ADAPTERS
from llm_gateway.wire.errors import BadReply
from tests.fakes.openai_requests import model_request


def test_json_in_place_of_a_stream_is_a_chunk_and_usage_for_who_model_request() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    told = msgspec.json.encode({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})
    wants_usage = {"stream_options": {"include_usage": True}}
    cases: list[tuple[dict[str, Any], int]] = [({}, 1), (wants_usage, 2)]
    for more, events_in_all in cases:
        reader = ADAPTERS["openai"].stream(model_request(stream=True, **more), event_limit=1 << 20)
        events = reader.whole(told)
        assert events.count(b"\n\n") == events_in_all
        assert b'"delta":{"role":"assistant","content":"Hi"}' in events
        assert b'"object":"chat.completion.chunk"' in events
        assert reader.usage is not None
        assert reader.usage.total_tokens == 4
        assert reader.done


def chunk(index: int, **more: Any) -> bytes:
    choice = {"index": index, "text": "x", "finish_reason": "stop", **more}
    return b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"


@pytest.mark.parametrize(
    ("endpoint", "fields", "choices"),
    [
        ("chat/completions", {}, 1),
        ("chat/completions", {"n": 3}, 3),
        ("chat/completions", {"n": None}, 1),
        # Values that the provider will reject are not an error here.
        ("chat/completions", {"n": "many"}, 1),
        ("chat/completions", {"n": -2}, 1),
        # Only legacy completions have one choice for each prompt.
        ("chat/completions", {"prompt": ["a", "b"]}, 1),
        ("completions", {"prompt": "a"}, 1),
        ("completions", {"prompt": ["a", "b"], "n": 2}, 4),
        ("completions", {"prompt": [[1, 2], [3]]}, 2),
        # One prompt of token numbers.
        ("completions", {"prompt": [1, 2, 3]}, 1),
        ("completions", {"prompt": []}, 1),
    ],
)
def test_a_stream_is_finished_when_every_expected_choice_is(
    endpoint: EndpointName, fields: dict[str, Any], choices: int
) -> None:
    reader = ChatStream(model_request(endpoint, **fields), event_limit=1 << 20)
    for index in range(choices):
        assert not reader.finished
        reader.feed(chunk(index))
    assert reader.finished


def test_a_legacy_completion_keeps_its_text_and_its_object() -> None:
    reply = {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "Hi"}]}
    reader = ChatStream(model_request("completions", prompt="a", stream=True), event_limit=1 << 20)
    assert msgspec.json.decode(reader.whole(msgspec.json.encode(reply))[6:]) == reply
    assert (reader.done, reader.finished, reader.content_seen, reader.usage) == (True, True, True, None)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"5", b"{}", b'{"choices":5}', b'{"choices":[5]}', b'{"choices":[{"text":"no message"}]}'],
)
def test_json_that_is_no_completion_is_a_bad_reply(body: bytes) -> None:
    reader = ChatStream(model_request(stream=True), event_limit=1 << 20)
    with pytest.raises(BadReply, match="not a completion"):
        reader.whole(body)
    assert not reader.done
