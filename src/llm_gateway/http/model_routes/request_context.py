"""Reads the headers of a request that the gateway acts on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llm_gateway.flow.ports.dialect import CostHeaders, Dialect
from llm_gateway.http.auth import repeated_key
from llm_gateway.http.client_address import TrustedProxies
from llm_gateway.http.model_routes.forwarding import FORWARDED
from llm_gateway.http.types import Exchange, Scope

_LONGEST_CLIENT_ID = 128
# Headers in which clients number their requests, preferred first: OpenAI's clients use the second, Azure's the third.
_CLIENT_IDS = (b"x-request-id", b"x-client-request-id", b"x-ms-client-request-id")
# Headers about costs, in the order of the fields of CostHeaders.
_COST_HEADERS = (b"x-llm-gateway-cost", b"x-llm-gateway-dry-run", b"x-llm-gateway-max-cost-usd")
_COSTS = frozenset(_COST_HEADERS)
_CONTEXT = "context"
_NO_PROXIES = TrustedProxies()


class RequestContext:
    """The headers that the gateway acts on, except Content-Length."""

    __slots__ = (
        "api_key",
        "attribution",
        "cache_directive",
        "client_ip",
        "client_request_id",
        "content_encoding",
        "cost_headers",
        "forwarded",
    )

    def __init__(self, scope: Scope, dialect: Dialect, proxies: TrustedProxies = _NO_PROXIES) -> None:
        """Read the headers.

        If a header is repeated, the last one counts, but keys and what a request may cost must not be repeated.
        """
        headers = dict(scope["headers"])
        is_repeated = len(headers) < len(scope["headers"])
        self.api_key = (repeated_key(scope["headers"]) if is_repeated else None) or dialect.identify(headers)
        self.attribution = dialect.attribute(headers)
        self.client_request_id = _client_request_id(headers)
        coding = headers.get(b"content-encoding")
        self.content_encoding = None if coding is None else coding.strip().lower()
        cache = headers.get(b"x-llm-gateway-cache")
        self.cache_directive = None if cache is None else cache.decode("latin-1").strip().lower()
        self.cost_headers = None if _COSTS.isdisjoint(headers) else _cost_headers(scope["headers"])
        self.client_ip = proxies.client_ip(scope)
        self.forwarded: dict[str, str] = {}
        if not FORWARDED.isdisjoint(headers):
            for name in FORWARDED & headers.keys():
                self.forwarded[name.decode("ascii")] = headers[name].decode("latin-1")


def context_of(
    scope: Scope, exchange: Exchange | None, dialect: Dialect, proxies: TrustedProxies = _NO_PROXIES
) -> RequestContext:
    """Return the context of a request; equal heads that one address sends again share one context."""
    state = None if exchange is None else exchange.head_state
    if state is None:
        return RequestContext(scope, dialect, proxies)
    # Equal heads have equal paths, and so the same dialect.
    context: RequestContext | None = state.get(_CONTEXT)
    if context is None:
        context = state[_CONTEXT] = RequestContext(scope, dialect, proxies)
    return context


def declared_length(scope: Scope) -> int | None:
    """Return the Content-Length, None without a valid one."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else None


def _cost_headers(headers: Iterable[tuple[bytes, bytes]]) -> CostHeaders:
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _COSTS:
            text = value.decode("latin-1").strip().lower()
            # Two values are none that can be obeyed: whoever reads them refuses the request.
            found[name] = text if found.get(name, text) == text else f"{found[name]}, {text}"
    in_usage, dry_run, max_cost_usd = map(found.get, _COST_HEADERS)
    return CostHeaders(in_usage, dry_run, max_cost_usd)


def _client_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the first usable id in the order of `_CLIENT_IDS`."""
    found = (_printable(headers[name]) for name in _CLIENT_IDS if name in headers)
    return next((text for text in found if text is not None), None)


def _printable(value: bytes) -> str | None:
    text = value.decode("latin-1").strip()[:_LONGEST_CLIENT_ID]
    return text if text and text.isprintable() else None
