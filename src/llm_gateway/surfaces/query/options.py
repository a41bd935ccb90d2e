"""What the operator sets for the query gateway's API."""

from __future__ import annotations

import msgspec


class QueryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of this surface. Whether and for how long answers are cached, the flow's options say."""

    # Whether the text of each query is logged.
    log_queries: bool = False
