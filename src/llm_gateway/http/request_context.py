"""Reads the headers of a request that the gateway acts on."""

from __future__ import annotations

from typing import Final

from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.http.types import Exchange, Scope

# The only client headers that are sent to a provider (C41).
FORWARDED: Final = frozenset({b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta"})
_LONGEST_CLIENT_ID = 128
_CONTEXT = "context"


class RequestContext:
    """The headers that the gateway acts on, except Content-Length."""

    __slots__ = (
        "api_key",
        "cache_directive",
        "client_ip",
        "client_request_id",
        "content_encoding",
        "forwarded",
    )

    def __init__(self, scope: Scope, dialect: Dialect) -> None:
        """Read the headers. If a header is repeated, the last one counts."""
        headers = dict(scope["headers"])
        self.api_key = dialect.identify(headers)
        client_id = headers.get(b"x-request-id")
        self.client_request_id = None if client_id is None else _printable(client_id)
        coding = headers.get(b"content-encoding")
        self.content_encoding = None if coding is None else coding.strip().lower()
        cache = headers.get(b"x-llm-gateway-cache")
        self.cache_directive = None if cache is None else cache.decode("latin-1").strip().lower()
        client = scope.get("client")
        self.client_ip: str | None = client[0] if client else None
        self.forwarded: dict[str, str] = {}
        if not FORWARDED.isdisjoint(headers):
            for name in FORWARDED & headers.keys():
                self.forwarded[name.decode("ascii")] = headers[name].decode("latin-1")


def context_of(scope: Scope, exchange: Exchange | None, dialect: Dialect) -> RequestContext:
    """Return the context of a request; equal heads in a row on one connection share one context."""
    state = None if exchange is None else exchange.head_state
    if state is None:
        return RequestContext(scope, dialect)
    # Equal heads have equal paths, and so the same dialect.
    context: RequestContext | None = state.get(_CONTEXT)
    if context is None:
        context = state[_CONTEXT] = RequestContext(scope, dialect)
    return context


def declared_length(scope: Scope) -> int | None:
    """Return the Content-Length, None without a valid one."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else None


def _printable(value: bytes) -> str | None:
    text = value.decode("latin-1").strip()[:_LONGEST_CLIENT_ID]
    return text if text and text.isprintable() else None
