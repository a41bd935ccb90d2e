"""The API format of one route: how it reads keys and requests, and encodes replies, streams and errors.

Inside the gateway, requests and replies have one *canonical* form: OpenAI's, for the request's endpoint. A dialect
translates at the edge. OpenAI's own dialects pass bytes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.catalog import KeyHasher
from llm_gateway.providers.base import StreamTail

Headers = tuple[tuple[bytes, bytes], ...]


class PresentedKey:
    """An API key as the client sent it. The hash is computed once, even when many requests share the object."""

    __slots__ = ("_digest", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest: bytes | None = None

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return the hash that the catalog stores; `hasher` must be the same in every call of a process."""
        digest = self._digest
        if digest is None:
            digest = self._digest = hasher.hash(self._text)
        return digest


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a client sends a request, according to the request itself; None where it does not say."""

    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    user: str | None = None
    channel: str | None = None


NO_ATTRIBUTION: Final = Attribution()


class ErrorResponse(NamedTuple):
    """An error as the client receives it. `headers` lack content-length, x-request-id and retry-after."""

    status: int
    headers: Headers
    body: bytes


class ErrorFormat(Protocol):
    """Encodes errors for clients."""

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        """Return the response. Must be pure: one call is for the usage record, another for the client."""


class StreamEncoder(Protocol):
    """Translates one canonical event stream for the client."""

    def feed(self, events: bytes) -> bytes:
        """Translate complete canonical events, never [DONE]; return bytes for the client, possibly b""."""

    def end(self) -> bytes:
        """Return the bytes that end a complete stream."""

    def fail(self, error: GatewayError) -> bytes:
        """Return the bytes that end a failed stream; clients must be able to tell it from a complete one."""


class Dialect(ErrorFormat, Protocol):
    """The format of one route of a surface. Every method is synchronous and does no I/O."""

    # Headers of a whole reply and of a stream: the content type, and any others of the dialect.
    reply_headers: Headers
    stream_headers: Headers
    # Translates the canonical body of a whole reply; None = it passes through unchanged.
    encode_reply: Callable[[ModelRequest, bytes], bytes] | None
    # Ends a complete stream that passes through unchanged.
    stream_end: bytes

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        """Return the key of the request, None without one. Names in `headers` are in lower case."""

    def read(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[ModelRequest, Attribution]:
        """Parse a request's body into its canonical form; raise BadRequest that names the field."""

    def open_stream(self, request: ModelRequest) -> StreamEncoder | None:
        """Return an encoder for the stream that answers `request`; None = it passes through unchanged."""

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return the bytes that end a failed stream that passed through unchanged; `tail` is its state."""
