"""What a surface hands to the pipeline: who called, how, and how to read what they want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from llm_gateway.flow.ports.catalog import KeyHasher


class ClientDisconnected(Exception):
    """The client closed its connection; there is nobody left to answer."""


class PresentedKey:
    """An API key as a client sends it, hashed once however many of its requests bring it."""

    __slots__ = ("_digest", "_text")

    def __init__(self, text: str) -> None:
        """Take the token; nothing shows it."""
        self._text = text
        self._digest: bytes | None = None

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return what the catalog stores of such a key; `hasher` is the same for as long as the process lives."""
        digest = self._digest
        if digest is None:
            digest = self._digest = hasher.hash(self._text)
        return digest


class Call(msgspec.Struct, kw_only=True, gc=False):
    """One HTTP request as the flow sees it; times are the clock's.

    `admitted` is False when the machine has too many requests in flight already. `forwarded` holds the
    client's headers that go on to the provider.
    """

    request_id: str
    client_request_id: str | None
    path: str
    method: str
    api_key: PresentedKey | None
    client_ip: str | None
    started: float
    created_at: int
    admitted: bool = True
    # The client's `x-llm-gateway-cache`, lower case; None = it has no wish.
    cache: str | None = None
    forwarded: Mapping[str, str]
    # All of the client's headers, names in lower case: an affinity rule may ask for any of them.
    headers: Sequence[tuple[bytes, bytes]] = ()
    # The body's size, once it was read.
    request_bytes: int = 0
