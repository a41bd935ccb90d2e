"""A call as a dialect sees it when it reads the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from llm_gateway.flow.ports.dialect import (
    NO_ATTRIBUTION,
    Attribution,
    CostHeaders,
    Dialect,
    IncomingCall,
    PresentedKey,
)


class IncomingCallOf(IncomingCall):
    """A call with a key, and nothing else."""

    def __init__(self, api_key: PresentedKey | None) -> None:
        self.request_id = "an-id"
        self.client_request_id: str | None = None
        self.api_key = api_key
        self.created_at = 1_750_000_000_000_000
        self.cache_directive: str | None = None
        self.cost_headers: CostHeaders | None = None
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.dialect: Dialect = cast("Any", None)
        self.attribution: Attribution = NO_ATTRIBUTION
