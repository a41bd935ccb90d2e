"""What the gateway wants to know of a request's head, found in one walk over its headers."""

from __future__ import annotations

from typing import Final

from llm_gateway.http.types import Scope

# The client's headers that go on to a provider (C41); everything else stays here.
FORWARDED: Final = frozenset({b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta"})
_LONGEST_CLIENT_ID = 128


class RequestContext:
    """One request's id and the headers that are acted on."""

    __slots__ = (
        "api_key", "cache", "client_ip", "client_request_id", "content_encoding", "content_length", "forwarded",
        "request_id",
    )  # fmt: skip

    def __init__(self, scope: Scope, request_id: str) -> None:
        """Walk the headers; of a header that is there twice the last one counts."""
        self.request_id = request_id
        self.api_key: str | None = None
        self.client_request_id: str | None = None
        self.cache: str | None = None
        self.content_length: int | None = None
        self.content_encoding: bytes | None = None
        self.forwarded: dict[str, str] = {"x-request-id": request_id}
        client = scope.get("client")
        self.client_ip: str | None = client[0] if client else None
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.api_key = bearer(value)
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() else None
            elif name == b"x-request-id":
                self.client_request_id = _printable(value)
            elif name == b"content-encoding":
                self.content_encoding = value.strip().lower()
            elif name == b"x-llm-gateway-cache":
                self.cache = value.decode("latin-1").strip().lower()
            elif name in FORWARDED:
                self.forwarded[name.decode("ascii")] = value.decode("latin-1")


def bearer(value: bytes) -> str | None:
    """Return the token of an Authorization header: `Bearer` in any case, extra spaces pass (C37)."""
    scheme, _, token = value.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        return None
    return token.decode("utf-8", "replace")


def _printable(value: bytes) -> str | None:
    text = value.decode("latin-1").strip()[:_LONGEST_CLIENT_ID]
    return text if text and text.isprintable() else None
