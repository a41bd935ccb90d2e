"""What a request or one of its attempts cost."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.records import Breakdown, CostSource


# It refers to names and numbers only, so the garbage collector skips it (gc=False).
class PricedUsage(msgspec.Struct, frozen=True, gc=False):
    """The cost of one attempt, or of all attempts of a request; the fields are those of `UsageRecord`."""

    cost_nano_usd: int | None = None
    source: CostSource | None = None
    unpriced: str | None = None
    breakdown: Breakdown | None = None
    price_version: str | None = None
