"""What a client speaks on one route: its identity, its request, its replies, streams and errors as bytes.

Inside the gateway a request and its reply have one form, the *canonical* one: OpenAI's, of the request's endpoint. A
dialect translates at the edge. OpenAI's own dialects pass the bytes as they came.
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
    """An API key as a client sends it, hashed once however many of its requests bring it."""

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
    """On whose behalf a client sends a request, as the request itself says; None where it does not say."""

    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    user: str | None = None
    channel: str | None = None


NO_ATTRIBUTION: Final = Attribution()


class ErrorResponse(NamedTuple):
    """An error as a client gets it. `headers` lack the content length, the request id and the time to wait."""

    status: int
    headers: Headers
    body: bytes


class ErrorFormat(Protocol):
    """How errors look to a client."""

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        """Return the response. Pure: the usage row counts the bytes of one call, the client gets those of another."""


class StreamEncoder(Protocol):
    """Translates one canonical event stream for the client."""

    def feed(self, events: bytes) -> bytes:
        """Take whole canonical events, without any [DONE]; return bytes for the client, b"" for none."""

    def end(self) -> bytes:
        """Return what ends a stream that is complete."""

    def fail(self, error: GatewayError) -> bytes:
        """Return what ends a stream that failed; the client must be able to tell it from a complete one."""


class Dialect(ErrorFormat, Protocol):
    """One route of a surface. Every method is synchronous and does no I/O."""

    # Of a whole reply and of a stream: the content type, and what else the dialect asks for.
    reply_headers: Headers
    stream_headers: Headers
    # Translates the canonical body of a whole reply; None = it passes as it came.
    encode_reply: Callable[[ModelRequest, bytes], bytes] | None
    # What ends a complete stream that passes as it came.
    stream_end: bytes

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        """Return the key that the request brings, None when it brings none; names are in lower case."""

    def read(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[ModelRequest, Attribution]:
        """Read a request's body into its canonical form; raise BadRequest that names the field."""

    def open_stream(self, request: ModelRequest) -> StreamEncoder | None:
        """Return the translator of the stream that answers `request`; None = its bytes pass as they came."""

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return what ends a failed stream that passed as it came; `tail` says how it stood."""
