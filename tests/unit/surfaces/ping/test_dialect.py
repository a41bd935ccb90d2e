"""Replies and streams in dgen-ping's form, from canonical ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import UpstreamFailed
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import StreamEncoder
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.ping.callers import CallerReader
from llm_gateway.surfaces.ping.dialect import PingDialect
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.requests import read_completion
from tests.fakes.reply_facts import StatedFacts

OPTIONS = PingOptions()
DIALECT = PingDialect(CallerReader(OPTIONS, None), lambda body, call: read_completion(OPTIONS, body, call))
REQUEST = ModelRequest("chat/completions", "m", False, False, {})
FACTS = StatedFacts(usage=Usage(25, 45, 70), latency_ms=1234.5678)
METADATA = {
    "request_id": FACTS.request_id,
    "latency": 1.235,
    "tokens": {"prompt": 25, "completion": 45, "total": 70},
    "timestamp": "2025-06-15T15:06:41.234Z",
}


def reply(body: bytes, facts: StatedFacts = FACTS) -> Any:
    return msgspec.json.decode(DIALECT.encode_reply(REQUEST, body, facts))


def chunk(**delta: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]}) + b"\n\n"


@pytest.fixture
def stream() -> StreamEncoder:
    return DIALECT.open_stream(REQUEST, None)


def test_a_reply_has_the_documented_fields_s1_5() -> None:
    body = msgspec.json.encode({"choices": [{"message": {"role": "assistant", "content": "Hello!"}}]})
    assert reply(body) == {"completion": "Hello!", "model": "m", "metadata": METADATA}


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"no JSON"]
)
def test_a_reply_without_text_is_empty(body: bytes) -> None:
    assert reply(body)["completion"] == ""


def test_tokens_that_are_not_known_are_null() -> None:
    assert reply(b"{}", StatedFacts())["metadata"]["tokens"] == {
        "prompt": None,
        "completion": None,
        "total": None,
    }


def test_a_stream(stream: StreamEncoder) -> None:
    sent = stream.feed(chunk(role="assistant") + chunk(content="a") + b": ping\n\n" + chunk(content="b\n"))
    assert sent == b'data: {"completion":"a"}\n\ndata: {"completion":"b\\n"}\n\n'
    last, done, rest = stream.end(FACTS).split(b"\n\n")
    assert msgspec.json.decode(last.removeprefix(b"data: ")) == {
        "completion": "",
        "model": "m",
        "metadata": METADATA,
    }
    assert (done, rest) == (b"data: [DONE]", b"")


def test_a_stream_that_fails_has_no_done(stream: StreamEncoder) -> None:
    event = stream.fail(UpstreamFailed("It was cut.", code="upstream_cut"), StreamTail(), FACTS)
    assert event.endswith(b"\n\n")
    assert msgspec.json.decode(event.removeprefix(b"data: ")) == {
        "detail": "It was cut.",
        "error": {
            "type": "upstream_error",
            "code": "upstream_cut",
            "param": None,
            "request_id": FACTS.request_id,
        },
    }
