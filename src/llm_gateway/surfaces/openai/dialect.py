"""OpenAI's dialects: bytes pass through unchanged, because the gateway's canonical form is OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.dialect import (
    NO_ATTRIBUTION,
    Attribution,
    Dialect,
    Headers,
    IncomingCall,
    PresentedKey,
)
from llm_gateway.http.auth import presented_key
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.openai.attribution import stated_in_headers, with_user_of
from llm_gateway.surfaces.openai.errors import OpenAIErrors, error_fields, openai_error
from llm_gateway.surfaces.openai.parsing import (
    parse_chat,
    parse_completion,
    parse_embedding,
    parse_response,
)
from llm_gateway.wire.loose_json import read_json, write_json


class OpenAIDialect(OpenAIErrors, Dialect):
    """The dialect of routes whose streams end with [DONE], or with an error event."""

    reply_headers: Headers = ((b"content-type", b"application/json"),)
    stream_headers: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    encode_reply = None
    stream_end = DONE

    def __init__(self, parse: Callable[[bytes], ModelRequest]) -> None:
        self._parse = parse

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        return presented_key(headers)

    def attribute(self, headers: Mapping[bytes, bytes]) -> Attribution:
        return stated_in_headers(headers)

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        request = self._parse(body)
        stated = call.attribution
        if stated is NO_ATTRIBUTION and "user" not in request.fields:
            return request, stated
        return request, with_user_of(request.fields, stated)

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> None:
        del request, deployment

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return an error event; no [DONE] follows it."""
        del tail
        return b"data: " + openai_error(error) + b"\n\n"


class ResponsesDialect(OpenAIDialect):
    """The dialect of the Responses API: events are numbered, and the type of the last one marks the end."""

    stream_end = b""

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return a `response.failed` event, and then an `error` event.

        Some clients act on the first alone, OpenAI's SDKs raise on the second alone. OpenAI documents the error's
        fields in the event itself, but its servers send them below `error`, where its SDKs read them: it has both.
        """
        fields = error_fields(error)
        number = tail.sequence_number
        event = _object_of(tail.failed_event) or {"sequence_number": number}
        response = event.get("response") or _object_of(tail.begun_event).get("response")
        if not isinstance(response, dict):
            response = _NO_RESPONSE
        event["response"] = {**response, "status": "failed", "error": fields}
        stated = event.get("sequence_number")
        if type(stated) is int:
            number = stated
        last = {**fields, "sequence_number": number + 1, "error": fields}
        return _event("response.failed", event) + _event("error", last)


# For a stream that failed before it named its response.
_NO_RESPONSE: Final = {"id": "", "object": "response", "created_at": 0, "model": "", "output": []}


def _object_of(data: bytes | None) -> dict[str, Any]:
    """Decode an event that was read before; an empty object if there was none."""
    value = {} if data is None else read_json(data)
    return value if isinstance(value, dict) else {}


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + write_json({**fields, "type": name}) + b"\n\n"


CHAT: Final = OpenAIDialect(parse_chat)
COMPLETION: Final = OpenAIDialect(parse_completion)
EMBEDDING: Final = OpenAIDialect(parse_embedding)
RESPONSE: Final = ResponsesDialect(parse_response)
