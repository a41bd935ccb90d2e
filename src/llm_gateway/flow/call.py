"""One HTTP request as the HTTP layer passes it to the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from llm_gateway.core.ledger.served import ClientFacts
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution, CostHeaders, Dialect, PresentedKey


class ClientDisconnected(Exception):
    """The client closed its connection before its response was complete."""


class Call(msgspec.Struct, gc=False):
    """One HTTP request. `started` is the clock's monotonic time; `created_at` is Unix microseconds.

    `admitted` is False when the machine already has too many requests in flight. `forwarded` holds the
    client's headers that are sent to the provider. The data plane creates calls by position, which is several
    times as fast as by name.
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
    # The value of the client's `x-llm-gateway-cache` header, in lower case; None = not sent.
    cache_directive: str | None = None
    # All of the client's headers, with lower-case names: an affinity rule may use any of them.
    headers: Sequence[tuple[bytes, bytes]] = ()
    # None = the client sent none of them.
    cost_headers: CostHeaders | None = None
    # Set once the body has been read.
    request_bytes: int = 0
    # At first what the headers say, then what the body says as well.
    attribution: Attribution = NO_ATTRIBUTION
    # The client's id and address for the ledger, if they were encoded.
    client: ClientFacts | None = None
