"""A summary of the performance of all workers as JSON, for people and scripts without Prometheus."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.metric_catalogue import REQUEST_DURATION
from llm_gateway.infra.metrics.requests import NO_REQUESTS, NONE, Counted, RequestSums, TimeSums, sums_by

# Models and providers that are shown, those with the most requests first.
MOST_ROWS: Final = 100
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_ERRORS: Final = ("4xx", "5xx")


def encode_summary(finished: Counted, *, active: int, uptime: float) -> bytes:
    """Return the summary; `finished` are the cells of all requests, `uptime` is in seconds."""
    counted = [*finished]
    models, omitted_models = _rows(counted, ("model", "provider"))
    providers, omitted_providers = _rows(counted, ("provider",))
    total = sums_by(counted, ()).get((), NO_REQUESTS)
    summary = {
        "uptime_seconds": round(uptime, 3),
        "active_requests": active,
        **_shown(total, _statuses(counted, ()).get((), {})),
        "models": models,
        "omitted_models": omitted_models,
        "providers": providers,
        "omitted_providers": omitted_providers,
    }
    return msgspec.json.encode(summary)


def _rows(counted: Counted, labels: tuple[str, ...]) -> tuple[list[dict[str, Any]], int]:
    """Return what is shown of each combination of these labels, and how many are left out.

    Requests without the first of them are in none: those that named no model, or reached no provider.
    """
    sums = {key: one for key, one in sums_by(counted, labels).items() if key[0] != NONE}
    statuses = _statuses(counted, labels)
    rows = [
        {
            **{name: None if value == NONE else value for name, value in zip(labels, key, strict=True)},
            **_shown(sums[key], statuses[key]),
        }
        for key in sorted(sums, key=lambda key: (-sums[key].requests, key))[:MOST_ROWS]
    ]
    return rows, len(sums) - len(rows)


def _statuses(counted: Counted, labels: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, int]]:
    """Return the requests of each class of statuses that occurred, by these labels."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for (*key, status), one in sorted(sums_by(counted, (*labels, "status_code")).items()):
        classes = found.setdefault(tuple(key), {})
        name = f"{status[:1]}xx"
        classes[name] = classes.get(name, 0) + round(one.requests)
    return found


def _shown(sums: RequestSums, statuses: dict[str, int]) -> dict[str, Any]:
    tokens = {name: round(number) for name, number in sums.tokens.items()}
    return {
        "requests": round(sums.requests),
        "errors": sum(statuses.get(name, 0) for name in _ERRORS),
        "requests_by_status": statuses,
        "latency_ms": _times(sums.duration),
        "llm_latency_ms": _times(sums.latency),
        "tokens": {**tokens, "total": tokens["prompt"] + tokens["completion"]},
        "cost_usd": round(sums.cost_usd, 9),
        "unpriced_requests": round(sums.unpriced),
    }


def _times(times: TimeSums) -> dict[str, float | None]:
    """Return the mean and the quantiles in milliseconds, None without any."""
    count = sum(times.buckets)
    if count <= 0:
        return dict.fromkeys(("mean", *_QUANTILES))
    return {
        "mean": round(times.seconds / count * 1000, 3),
        **{name: round(quantile(times.buckets, share) * 1000, 3) for name, share in _QUANTILES.items()},
    }


def quantile(buckets: list[float], share: float) -> float:
    """Return the time, in seconds, that this share of the times does not exceed, as Prometheus estimates it.

    Within a bucket, times are taken to be spread evenly; above the last bound, they count as that bound.
    """
    rank = share * sum(buckets)
    below, lower = 0.0, 0.0
    for number, bound in zip(buckets, REQUEST_DURATION.buckets, strict=False):
        if number and below + number >= rank:
            return lower + (bound - lower) * (rank - below) / number
        below, lower = below + number, bound
    return lower
