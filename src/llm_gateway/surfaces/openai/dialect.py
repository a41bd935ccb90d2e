"""OpenAI's dialects: bytes pass through unchanged, because the gateway's canonical form is OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution, Dialect, Headers, PresentedKey
from llm_gateway.http.auth import bearer
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.openai.errors import OpenAIErrors, error_fields, openai_error
from llm_gateway.surfaces.openai.parsing import (
    parse_chat,
    parse_completion,
    parse_embedding,
    parse_response,
)


def identify(headers: Mapping[bytes, bytes]) -> PresentedKey | None:
    """Return the key of the `Authorization: Bearer ...` header, None without one."""
    value = headers.get(b"authorization")
    token = None if value is None else bearer(value)
    return None if token is None else PresentedKey(token)


class OpenAIDialect(OpenAIErrors, Dialect):
    """The dialect of routes whose streams end with [DONE], or with an error event."""

    reply_headers: Headers = ((b"content-type", b"application/json"),)
    stream_headers: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    encode_reply = None
    stream_end = DONE

    def __init__(self, parse: Callable[[bytes], ModelRequest]) -> None:
        self._parse = parse

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        return identify(headers)

    def read(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[ModelRequest, Attribution]:
        del headers
        return self._parse(body), NO_ATTRIBUTION

    def open_stream(self, request: ModelRequest) -> None:
        del request

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return an error event; no [DONE] follows it."""
        del tail
        return b"data: " + openai_error(error) + b"\n\n"


class ResponsesDialect(OpenAIDialect):
    """The dialect of the Responses API: events are numbered, and the type of the last one marks the end."""

    stream_end = b""

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return an `error` event, or the provider's own `response.failed` event with its error redacted.

        OpenAI documents the error's fields in the event itself, but its servers send them below `error`, where
        its SDKs read them. The event contains both.
        """
        fields = error_fields(error)
        if tail.failed_event is not None:
            event = msgspec.json.decode(tail.failed_event)
            event["response"]["error"] = fields
            return _event("response.failed", event)
        return _event("error", {**fields, "sequence_number": tail.sequence_number, "error": fields})


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({**fields, "type": name}) + b"\n\n"


CHAT: Final = OpenAIDialect(parse_chat)
COMPLETION: Final = OpenAIDialect(parse_completion)
EMBEDDING: Final = OpenAIDialect(parse_embedding)
RESPONSE: Final = ResponsesDialect(parse_response)
