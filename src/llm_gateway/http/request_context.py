"""What the gateway wants to know of a request's head."""

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
        """Look the headers up; of a header that is there twice the last one counts."""
        headers = dict(scope["headers"])
        self.request_id = request_id
        key = headers.get(b"authorization")
        self.api_key = None if key is None else bearer(key)
        client_id = headers.get(b"x-request-id")
        self.client_request_id = None if client_id is None else _printable(client_id)
        length = headers.get(b"content-length")
        self.content_length = int(length) if length is not None and length.isdigit() else None
        coding = headers.get(b"content-encoding")
        self.content_encoding = None if coding is None else coding.strip().lower()
        cache = headers.get(b"x-llm-gateway-cache")
        self.cache = None if cache is None else cache.decode("latin-1").strip().lower()
        self.forwarded: dict[str, str] = {"x-request-id": request_id}
        client = scope.get("client")
        self.client_ip: str | None = client[0] if client else None
        if not FORWARDED.isdisjoint(headers):
            for name in FORWARDED & headers.keys():
                self.forwarded[name.decode("ascii")] = headers[name].decode("latin-1")


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
