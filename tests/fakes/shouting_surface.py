"""A surface for tests that differs from OpenAI's in everything: identity, body, replies, streams, errors."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest, GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.ports.dialect import (
    Attribution,
    Dialect,
    ErrorResponse,
    Headers,
    IncomingCall,
    PresentedKey,
    ReplyFacts,
    StreamEncoder,
)
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.base import Surface, SurfaceServices

PATH = "/shout/ask"
_TEXT: Headers = ((b"content-type", b"text/x-shout"),)


class _Question(msgspec.Struct):
    of: str
    text: str
    live: bool = False


class _Encoder(StreamEncoder):
    def feed(self, events: bytes) -> bytes:
        said = b""
        for event in split_events(events):
            data = event_data(event)
            for choice in msgspec.json.decode(data)["choices"] if data else ():
                said += (choice["delta"].get("content") or "").upper().encode()
        if said == b"BOOM":
            raise RuntimeError("a fault of the encoder")
        return b"<" + said + b">" if said else b""

    def end(self, facts: ReplyFacts) -> bytes:
        return b"THE END"

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        return b"BROKEN OFF: " + (error.code or "").encode()


class Shouting(Dialect):
    reply_headers = _TEXT
    stream_headers: Headers = ((b"content-type", b"text/x-shouts"),)
    stream_end = b"never sent"

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        key = headers.get(b"x-shout-key")
        return None if key is None else PresentedKey(key.decode())

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        try:
            question = msgspec.json.decode(body, type=_Question)
        except msgspec.DecodeError:
            raise BadRequest("say it again") from None
        messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": question.text}]))
        fields = {"model": msgspec.Raw(msgspec.json.encode(question.of)), "messages": messages}
        if question.live:
            fields["stream"] = msgspec.Raw(b"true")
        request = ModelRequest(
            endpoint="chat/completions",
            model=question.of,
            stream=question.live,
            wants_usage=False,
            fields=fields,
        )
        return request, Attribution(agent=dict(call.headers).get(b"x-shout-agent", b"").decode() or None)

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:
        said: str = msgspec.json.decode(body)["choices"][0]["message"]["content"]
        return f"{request.model} SAYS {said.upper()}".encode()

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder:
        return _Encoder()

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        return b"never sent"

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        return ErrorResponse(error.status + 1, _TEXT, f"NO ({request_id}): {error.code}".encode())


SHOUTING = Shouting()


def shouting_routes(services: SurfaceServices) -> RouteTable:
    return RouteTable(
        metered={("POST", PATH): services.plane.model_route(PATH, SHOUTING)}, errors=SHOUTING, root="/shout/"
    )


SURFACE = Surface(name="shouting", routes=shouting_routes, openapi_paths=dict)
