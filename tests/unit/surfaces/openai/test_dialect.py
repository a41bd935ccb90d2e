"""OpenAI's dialects: bytes pass unchanged, streams end with [DONE] or with an error event."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import Forbidden, UpstreamFailed
from llm_gateway.core.sse import DONE
from llm_gateway.flow.call import Call
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Dialect
from llm_gateway.providers.base import NO_TAIL, StreamTail
from llm_gateway.surfaces.openai.dialect import CHAT, COMPLETION, EMBEDDING, RESPONSE
from tests.fakes.in_memory import FakeGateway, PlainHasher, ScriptedUpstream


def call() -> Call:
    return FakeGateway(upstream=ScriptedUpstream()).call()


ERROR = UpstreamFailed("it broke", code="upstream_cut")
FIELDS = {"message": "it broke", "type": "upstream_error", "param": None, "code": "upstream_cut"}
ALL = pytest.mark.parametrize("dialect", [CHAT, COMPLETION, EMBEDDING, RESPONSE])


def event(data: bytes) -> tuple[str | None, Any]:
    """Return the name and the data of one event."""
    *start, last = data.removesuffix(b"\n\n").split(b"\n")
    name = start[0].removeprefix(b"event: ").decode() if start else None
    return name, msgspec.json.decode(last.removeprefix(b"data: "))


@ALL
def test_a_key_is_found(dialect: Dialect) -> None:
    found = dialect.identify({b"authorization": b"Bearer sk-1"})
    assert found is not None
    assert found.digest(PlainHasher()) == PlainHasher().hash("sk-1")
    assert dialect.identify({}) is None


@ALL
def test_nothing_is_translated(dialect: Dialect) -> None:
    body = b'{"model":"m","messages":[],"prompt":"x","input":"x"}'
    request, attribution = dialect.read(body, call())
    assert request.model == "m"
    assert attribution is NO_ATTRIBUTION
    assert dialect.encode_reply is None
    assert dialect.open_stream(request, None) is None
    assert dict(dialect.reply_headers) == {b"content-type": b"application/json"}


def test_each_dialect_reads_its_own_endpoint() -> None:
    body = b'{"model":"m","messages":[],"prompt":"x","input":"x"}'
    endpoints = [
        dialect.read(body, call())[0].endpoint for dialect in (CHAT, COMPLETION, EMBEDDING, RESPONSE)
    ]
    assert endpoints == ["chat/completions", "completions", "embeddings", "responses"]


@ALL
def test_an_error_response_is_openais_error_object(dialect: Dialect) -> None:
    error = Forbidden("no", param="model")
    response = dialect.error_response(error, "an-id")
    assert (response.status, response.headers) == (403, ((b"content-type", b"application/json"),))
    assert msgspec.json.decode(response.body) == {
        "error": {"message": "no", "type": "permission_error", "param": "model", "code": "model_not_allowed"}
    }


def test_only_streams_of_completions_end_with_done() -> None:
    assert (CHAT.stream_end, COMPLETION.stream_end, RESPONSE.stream_end) == (DONE, DONE, b"")


def test_a_failed_stream_ends_with_a_bare_error() -> None:
    assert event(CHAT.stream_error(ERROR, NO_TAIL)) == (None, {"error": FIELDS})


def test_a_failed_response_ends_with_two_numbered_events() -> None:
    failed, last, rest = RESPONSE.stream_error(ERROR, StreamTail(sequence_number=7)).split(b"\n\n")
    assert rest == b""
    name, data = event(last + b"\n\n")
    assert name == "error"
    # `type` is the event's, not the error's; the error's own is below `error`.
    assert data == {**FIELDS, "type": "error", "sequence_number": 8, "error": FIELDS}
    name, data = event(failed + b"\n\n")
    assert (name, data["type"], data["sequence_number"]) == ("response.failed", "response.failed", 7)
    assert (data["response"]["status"], data["response"]["error"]) == ("failed", FIELDS)


def test_the_providers_own_failure_event_keeps_all_but_its_error() -> None:
    failed = {
        "type": "response.failed",
        "sequence_number": 9,
        "response": {"id": "r", "status": "failed", "error": {"code": "x", "message": "sk-secret"}},
    }
    tail = StreamTail(sequence_number=9, failed_event=msgspec.json.encode(failed))
    first, _, _ = RESPONSE.stream_error(ERROR, tail).split(b"\n\n")
    name, data = event(first + b"\n\n")
    assert name == "response.failed"
    assert data == {**failed, "response": {"id": "r", "status": "failed", "error": FIELDS}}
