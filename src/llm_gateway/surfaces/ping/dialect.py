"""The dialect of dgen-ping's completions and chats: a prompt in, a completion and its metadata out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.core.times import iso_milliseconds
from llm_gateway.flow.ports.dialect import (
    Attribution,
    IncomingCall,
    PresentedKey,
    ReplyFacts,
    StreamEncoder,
)
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.ping.callers import CallerReader
from llm_gateway.surfaces.translating.chat import reply_text, sse_event, stream_texts
from llm_gateway.surfaces.translating.detail_dialect import DetailDialect
from llm_gateway.surfaces.translating.detail_errors import detail_fields

_encode: Final = msgspec.json.Encoder().encode
# Reads a body into a request.
ReadRequest = Callable[[bytes, IncomingCall], tuple[ModelRequest, Attribution]]


class PingDialect(DetailDialect):
    """The dialect of one route."""

    def __init__(self, callers: CallerReader, read_request: ReadRequest) -> None:
        self._callers = callers
        self._read_request = read_request

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey:
        return self._callers.identify(headers)

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        return self._read_request(body, call)

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:
        """Return `{"completion", "model", "metadata": {"request_id", "latency", "tokens", "timestamp"}}`."""
        del request
        return _encode(_completion(reply_text(body).content, facts))

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder:
        del request, deployment
        return _PingStream()


class _PingStream(StreamEncoder):
    """Sends `{"completion": "<delta>"}`, at last one with model and metadata, then [DONE]."""

    def feed(self, events: bytes) -> bytes:
        return b"".join(
            sse_event({"completion": text.content}) for text in stream_texts(events) if text.content
        )

    def end(self, facts: ReplyFacts) -> bytes:
        return sse_event(_completion("", facts)) + DONE

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        del tail
        return sse_event(detail_fields(error, facts.request_id))


def _completion(text: str, facts: ReplyFacts) -> dict[str, Any]:
    usage = facts.usage
    return {
        "completion": text,
        "model": facts.model,
        "metadata": {
            "request_id": facts.request_id,
            # Seconds.
            "latency": round(facts.latency_ms / 1000, 3),
            "tokens": {
                "prompt": None if usage is None else usage.prompt_tokens,
                "completion": None if usage is None else usage.completion_tokens,
                "total": None if usage is None else usage.total_tokens,
            },
            "timestamp": iso_milliseconds(facts.created_at + round(facts.latency_ms * 1000)),
        },
    }
