"""What the catalogue says of one metric."""

from __future__ import annotations

from typing import Literal

import msgspec

MetricType = Literal["counter", "gauge", "histogram"]
Unit = Literal[
    "requests",
    "seconds",
    "tokens",
    "usd",
    "attempts",
    "breakers",
    "records",
    "bytes",
    "version",
    "boolean",
    "ratio",
    "lines",
    "files",
    "rows",
    "syncs",
    "workers",
    "connections",
    "collections",
]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric as Prometheus sees it. The name of a counter ends in `_total`."""

    name: str
    type: MetricType
    labels: tuple[str, ...] = ()
    unit: Unit
    help: str
    # Upper bounds of a histogram, in its unit, without +Inf.
    buckets: tuple[float, ...] = ()
    # The event before which a gateway exposes no sample; None = exposed from the first scrape on.
    appears_after: str | None = None
