"""What the operator sets for the query gateway's API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """Settings of this surface. Whether and for how long answers are cached, the flow's options say."""

    # Whether the text of each query is logged.
    log_queries: bool = False
