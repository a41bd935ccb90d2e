"""The dialect of the agents' API: OpenAI's chat in, and a text with what is known of it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.dialect import (
    Attribution,
    IncomingCall,
    PresentedKey,
    ReplyFacts,
    StreamEncoder,
)
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.agents.requests import read_request
from llm_gateway.surfaces.translating.chat import ReplyText, reply_text, sse_event, stream_texts
from llm_gateway.surfaces.translating.detail_dialect import DetailDialect
from llm_gateway.surfaces.translating.detail_errors import detail_fields

_encode = msgspec.json.Encoder().encode


class AgentsDialect(DetailDialect):
    """The dialect of the surface's only model route; its other routes have its identity and errors."""

    def __init__(self, identify: Callable[[Mapping[bytes, bytes]], PresentedKey]) -> None:
        self._identify = identify

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey:
        return self._identify(headers)

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        del call
        return read_request(body)

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:
        """Return the reply's text, usage, provider and time, and what the model calls, if anything."""
        del request
        text = reply_text(body)
        fields: dict[str, Any] = {"content": text.content, **_known(facts), **_calls(text)}
        if text.finish_reason not in {None, "stop"}:
            fields["finish_reason"] = text.finish_reason
        return _encode(fields)

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder:
        del request, deployment
        return _Events()


class _Events(StreamEncoder):
    """Sends each piece of text, and last the fields of a whole reply."""

    __slots__ = ("_finish_reason",)

    def __init__(self) -> None:
        self._finish_reason: str | None = None

    def feed(self, events: bytes) -> bytes:
        out = b""
        for text in stream_texts(events):
            calls = _calls(text)
            if text.content or calls:
                out += sse_event({"content": text.content, **calls})
            self._finish_reason = text.finish_reason or self._finish_reason
        return out

    def end(self, facts: ReplyFacts) -> bytes:
        last = {"content": "", **_known(facts), "finish_reason": self._finish_reason}
        return sse_event(last) + DONE

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        """Return an event with the error; no [DONE] follows it."""
        del tail
        return sse_event(detail_fields(error, facts.request_id))


def _known(facts: ReplyFacts) -> dict[str, Any]:
    usage = facts.usage
    return {
        "usage": None
        if usage is None
        else {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
        "provider": facts.provider,
        "model_resolved": facts.upstream_model,
        "latency_ms": facts.latency_ms,
    }


def _calls(text: ReplyText) -> dict[str, msgspec.Raw]:
    """Return the calls of tools and functions, as OpenAI's JSON has them."""
    calls = {"tool_calls": text.tool_calls, "function_call": text.function_call}
    return {name: raw for name, raw in calls.items() if raw is not None}
