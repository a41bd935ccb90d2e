"""Guards paths with tokens, before anything else of a request is read."""

from __future__ import annotations

import hmac
from typing import Protocol

from llm_gateway.core.errors import GatewayError, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.http.types import Scope


class Guard(Protocol):
    """Protects all paths that start with one of `prefixes`."""

    prefixes: tuple[str, ...]

    def check(self, scope: Scope) -> GatewayError | None:
        """Return the error for a request without access, None for one with access."""


class BearerGuard(Guard):
    """Admits requests with one Bearer token; error messages call it `name`."""

    def __init__(self, prefixes: tuple[str, ...], token: Secret, name: str) -> None:
        self.prefixes = prefixes
        self._token = token
        self._name = name

    def check(self, scope: Scope) -> GatewayError | None:
        given = next((bearer(value) for name, value in scope["headers"] if name == b"authorization"), None)
        if given is not None and hmac.compare_digest(given.encode(), self._token.reveal().encode()):
            return None
        message = f"This path needs the {self._name}: send it as 'Authorization: Bearer ...'."
        return Unauthenticated(message)


def bearer(value: bytes) -> str | None:
    """Return the token of an Authorization header. Ignores case and extra spaces (C37)."""
    scheme, _, token = value.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        return None
    return token.decode("utf-8", "replace")
