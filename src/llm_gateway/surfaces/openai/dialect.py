"""OpenAI's dialects: bytes pass as they came, since the gateway's canonical form is OpenAI's."""

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
    """Return the key in `Authorization: Bearer ...`."""
    value = headers.get(b"authorization")
    token = None if value is None else bearer(value)
    return None if token is None else PresentedKey(token)


class OpenAIDialect(OpenAIErrors, Dialect):
    """A route whose streams end with [DONE], or with a bare error event."""

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
    """The Responses API: its last event says that it is the last, and its events are numbered."""

    stream_end = b""

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return the `error` event, or the provider's own `response.failed` with its error made safe.

        OpenAI's documentation has the error's fields in the event itself, its servers send them below
        `error`, which is where its SDKs look: here they are in both places.
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
