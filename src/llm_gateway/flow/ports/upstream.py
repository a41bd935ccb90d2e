"""Sending requests to providers, and the access tokens they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest


class TransportError(Exception):
    """The transport's failure; `kind` says when, and the message names no URL, header or secret.

    - `connect`: no connection (refused, DNS, TLS); nothing was sent.
    - `cut`: the connection ended before the reply did.
    - `timeout`: the time ran out.
    - `protocol`: the reply is not HTTP, or over a size limit.
    """

    def __init__(self, kind: Literal["connect", "cut", "timeout", "protocol"], message: str) -> None:
        """Hold what happened."""
        super().__init__(message)
        self.kind = kind


class UpstreamReply(Protocol):
    """An open reply: the head is here, the body may be on its way."""

    status: int

    def header(self, name: str) -> str | None:
        """Return a header's value by lower-case name."""

    async def read(self, timeout: float) -> bytes:
        """Return the next bytes, b"" at the clean end; raise TransportError when cut or late.

        `timeout` is in seconds and bounds the wait for these bytes alone. A read that timed out, or was
        cancelled, loses nothing: the next read goes on where it stood.
        """

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the whole body within `timeout` seconds; TransportError `protocol` over `limit` bytes."""

    async def relay(self, take: Callable[[bytes], bool], patience: float) -> None:
        """Hand each piece of the body to `take` as it comes, for as long as it returns True and does not raise.

        It is called by the connection itself, so that a piece wakes no task. Returns when `take` wants no more, or
        when nothing more can come: then `read` says why. Raises TransportError `timeout` after `patience` seconds
        without a piece. A transport that cannot do this returns at once.
        """

    def finish(self) -> None:
        """Want no more: keep the connection if the body ends within a moment, else drop it. Never waits."""

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else drop it. Never waits."""


class Upstream(Protocol):
    """Sends requests to providers."""

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        """Send, and return when the reply's head is here; raise TransportError.

        When the caller is cancelled the connection is dropped at once.
        """

    async def close(self) -> None:
        """Drop every connection."""


class AccessTokens(Protocol):
    """Gets providers' access tokens (OAuth2 client credentials), keeps them, and renews them before they expire."""

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        """Return a token that is good for a while; raise TransportError, whose message names no secret or URL."""

    def forget(self, provider_id: int, token: Secret) -> None:
        """Stop using a token that the provider refused; the next call gets another."""
