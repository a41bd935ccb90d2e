"""Guards paths with tokens, before anything else of a request is read."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from llm_gateway.core.errors import BadRequest, Forbidden, GatewayError, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.dialect import AmbiguousKey, PresentedKey
from llm_gateway.http.types import Scope

SEVERAL_AUTHORIZATIONS: Final = "Several Authorization headers were sent; send one."
# Where a client's key may be, apart from `Authorization: Bearer` (C45).
_KEY_HEADERS: Final = (b"api-key", b"x-api-key")
# The methods that change nothing.
_READING: Final = frozenset({"GET", "HEAD"})
# Those, and where other surfaces look for theirs.
_ALL_KEY_HEADERS: Final = (*_KEY_HEADERS, b"x-api-token", b"x-internal-secret")


class Guard(Protocol):
    """Protects all paths that start with one of `prefixes`."""

    prefixes: tuple[str, ...]

    def check(self, scope: Scope) -> GatewayError | None:
        """Return the error for a request without access, None for one with access."""


class BearerGuard(Guard):
    """Admits requests with one Bearer token, and with another one those that only read."""

    def __init__(
        self, prefixes: tuple[str, ...], token: Secret, name: str, *, reading_token: Secret | None = None
    ) -> None:
        """Error messages call the token `name`; without `reading_token`, nothing else is admitted."""
        self.prefixes = prefixes
        self._token = token
        self._name = name
        self._reading_token = reading_token

    def check(self, scope: Scope) -> GatewayError | None:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(values) > 1:
            return BadRequest(SEVERAL_AUTHORIZATIONS, code="ambiguous_api_key")
        given = bearer(values[0]) if values else None
        if given is not None:
            if _is_same(given, self._token):
                return None
            if self._reading_token is not None and _is_same(given, self._reading_token):
                return None if scope["method"] in _READING else self._read_only(scope["method"])
        message = f"This path needs the {self._name}: send it as 'Authorization: Bearer ...'."
        return Unauthenticated(message)

    def _read_only(self, method: str) -> GatewayError:
        message = f"This key may only read (GET and HEAD): {method} needs the {self._name}, dry runs too."
        return Forbidden(message, code="read_only_key")


def _is_same(given: str, token: Secret) -> bool:
    return hmac.compare_digest(given.encode(), token.reveal().encode())


def bearer(value: bytes) -> str | None:
    """Return the token of an Authorization header. Ignores case and extra spaces (C37)."""
    scheme, _, token = value.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        return None
    return token.decode("utf-8", "replace")


def presented_key(headers: Mapping[bytes, bytes]) -> PresentedKey | None:
    """Return the key in `Authorization: Bearer`, `api-key` or `x-api-key`; AmbiguousKey if they differ."""
    value = headers.get(b"authorization")
    token = None if value is None else bearer(value)
    for name in _KEY_HEADERS:
        if (other := headers.get(name)) is not None and (text := other.strip().decode("utf-8", "replace")):
            if token is not None and token != text:
                return AmbiguousKey(
                    "Different API keys were sent in Authorization, api-key or x-api-key; send one."
                )
            token = text
    return None if token is None else PresentedKey(token)


def repeated_key(headers: Sequence[tuple[bytes, bytes]]) -> AmbiguousKey | None:
    """Return AmbiguousKey if there are several Authorization headers, or several values of another header of keys."""
    if sum(name == b"authorization" for name, _ in headers) > 1:
        return AmbiguousKey(SEVERAL_AUTHORIZATIONS)
    for known in _ALL_KEY_HEADERS:
        if len({value.strip() for name, value in headers if name == known}) > 1:
            return AmbiguousKey(f"Several different {known.decode()} headers were sent; send one.")
    return None
