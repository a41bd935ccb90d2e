"""Replies, streams and errors as agents get them."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.errors import UpstreamFailed
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.agents.dialect import AgentsDialect
from llm_gateway.surfaces.translating.chat import chat_request, sse_event
from tests.fakes.reply_facts import StatedFacts

DIALECT = AgentsDialect(lambda headers: PresentedKey(headers.get(b"x-internal-secret", b"").decode()))
REQUEST: ModelRequest = chat_request("m", [], {}, stream=False)
FACTS = StatedFacts(usage=Usage(25, 10, 35))
KNOWN = {
    "usage": {"prompt_tokens": 25, "completion_tokens": 10, "total_tokens": 35},
    "provider": "p",
    "model_resolved": "up",
    "latency_ms": 1234.5,
}


def encoded(message: dict[str, Any], finish_reason: str | None = "stop") -> dict[str, Any]:
    body = msgspec.json.encode({"choices": [{"message": message, "finish_reason": finish_reason}]})
    fields: dict[str, Any] = msgspec.json.decode(DIALECT.encode_reply(REQUEST, body, FACTS))
    return fields


def test_s2_10_a_reply_has_the_documented_fields_in_their_order() -> None:
    answer = encoded({"content": "Hello!"})
    assert answer == {"content": "Hello!", **KNOWN}
    assert list(answer) == ["content", "usage", "provider", "model_resolved", "latency_ms"]


def test_a_reply_says_more_only_if_there_is_more_to_say() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert encoded({"content": None, "tool_calls": calls}, "tool_calls") == {
        "content": "",
        **KNOWN,
        "tool_calls": calls,
        "finish_reason": "tool_calls",
    }
    assert encoded({"content": "", "function_call": {"name": "f"}}, "function_call")["function_call"] == {
        "name": "f"
    }
    assert encoded({"content": "cut"}, "length")["finish_reason"] == "length"
    assert "finish_reason" not in encoded({"content": "a"}, None)
    assert encoded({"content": None, "refusal": "I cannot"})["content"] == "I cannot"


def test_a_usage_that_is_not_known_is_null() -> None:
    body = b'{"choices":[{"message":{"content":"a"}}]}'
    assert msgspec.json.decode(DIALECT.encode_reply(REQUEST, body, StatedFacts()))["usage"] is None


def chunk(finish_reason: str | None = None, **delta: object) -> bytes:
    return sse_event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def test_s2_19_a_stream_is_texts_and_then_what_is_known() -> None:
    encoder = DIALECT.open_stream(REQUEST, None)
    out = encoder.feed(chunk(role="assistant", content=""))
    assert out == b""
    out = encoder.feed(chunk(content="Hel") + chunk(content="lo") + b": ping\n\n")
    assert out == b'data: {"content":"Hel"}\n\ndata: {"content":"lo"}\n\n'
    delta = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]
    assert msgspec.json.decode(encoder.feed(chunk(tool_calls=delta)).removeprefix(b"data: ")) == {
        "content": "",
        "tool_calls": delta,
    }
    assert encoder.feed(chunk("tool_calls")) == b""
    assert encoder.feed(sse_event({"choices": [], "usage": {"total_tokens": 35}})) == b""
    last = encoder.end(FACTS)
    assert last.endswith(b"\n\n" + DONE)
    assert msgspec.json.decode(last.removesuffix(DONE).removeprefix(b"data: ")) == {
        "content": "",
        **KNOWN,
        "finish_reason": "tool_calls",
    }


def test_a_stream_that_fails_ends_with_its_error_alone() -> None:
    error = UpstreamFailed("The connection broke.", code="upstream_cut")
    encoder = DIALECT.open_stream(REQUEST, None)
    encoder.feed(chunk(content="Hel"))
    last = encoder.fail(error, StreamTail(), FACTS)
    assert msgspec.json.decode(last.removeprefix(b"data: ")) == {
        "detail": "The connection broke.",
        "error": {
            "type": "upstream_error",
            "code": "upstream_cut",
            "param": None,
            "request_id": FACTS.request_id,
        },
    }
    assert b"[DONE]" not in last + DIALECT.stream_error(error, StreamTail())
