"""What the gateway wants to know of a request's head."""

from __future__ import annotations

from typing import Final

from llm_gateway.flow.call import PresentedKey
from llm_gateway.http.types import Exchange, Scope

# The client's headers that go on to a provider (C41); everything else stays here.
FORWARDED: Final = frozenset({b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta"})
_LONGEST_CLIENT_ID = 128
_KEPT_AS = "context"


class RequestContext:
    """The headers of a request that are acted on, the body's length aside."""

    __slots__ = ("api_key", "cache", "client_ip", "client_request_id", "content_encoding", "forwarded")

    def __init__(self, scope: Scope) -> None:
        """Look the headers up; of a header that is there twice the last one counts."""
        headers = dict(scope["headers"])
        key = headers.get(b"authorization")
        token = None if key is None else bearer(key)
        self.api_key = None if token is None else PresentedKey(token)
        client_id = headers.get(b"x-request-id")
        self.client_request_id = None if client_id is None else _printable(client_id)
        coding = headers.get(b"content-encoding")
        self.content_encoding = None if coding is None else coding.strip().lower()
        cache = headers.get(b"x-llm-gateway-cache")
        self.cache = None if cache is None else cache.decode("latin-1").strip().lower()
        client = scope.get("client")
        self.client_ip: str | None = client[0] if client else None
        self.forwarded: dict[str, str] = {}
        if not FORWARDED.isdisjoint(headers):
            for name in FORWARDED & headers.keys():
                self.forwarded[name.decode("ascii")] = headers[name].decode("latin-1")


def context_of(scope: Scope, exchange: Exchange | None) -> RequestContext:
    """Return what the head says, read once for all requests of a connection that have the same."""
    kept = None if exchange is None else exchange.head_state
    if kept is None:
        return RequestContext(scope)
    context: RequestContext | None = kept.get(_KEPT_AS)
    if context is None:
        context = kept[_KEPT_AS] = RequestContext(scope)
    return context


def declared_length(scope: Scope) -> int | None:
    """Return the body's length as the head tells it, None when it does not."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else None


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
