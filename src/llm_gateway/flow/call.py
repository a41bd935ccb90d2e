"""What the HTTP layer hands to the pipeline: one call, its dialect, and who sent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution, Dialect, PresentedKey


class ClientDisconnected(Exception):
    """The client closed its connection before its response was complete."""


class Call(msgspec.Struct, gc=False):
    """One HTTP request as the flow sees it; times are the clock's.

    `admitted` is False when the machine has too many requests in flight already. `forwarded` holds the
    client's headers that are sent to the provider. The data plane makes it by position, which is several times as
    fast as by name.
    """

    dialect: Dialect
    request_id: str
    client_request_id: str | None
    path: str
    method: str
    api_key: PresentedKey | None
    client_ip: str | None
    started: float
    created_at: int
    forwarded: Mapping[str, str]
    admitted: bool = True
    # The client's `x-llm-gateway-cache`, in lower case; None = not sent.
    cache_directive: str | None = None
    # All of the client's headers, names in lower case: an affinity rule may use any of them.
    headers: Sequence[tuple[bytes, bytes]] = ()
    # Known once the body was read.
    request_bytes: int = 0
    attribution: Attribution = NO_ATTRIBUTION
