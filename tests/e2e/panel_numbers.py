"""What every panel must show after a load, by its legends: from usage rows, the admin API and /proc."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm_gateway.core import metric_catalogue as catalogue
from tests.e2e.scene import Load, called

Row = dict[str, Any]
Numbers = Mapping[str, object]


@dataclass(frozen=True)
class Between:
    """Equals every number from `low` to `high`: for what is read a moment before or after a scrape."""

    low: float
    high: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self.low <= other <= self.high

    def __hash__(self) -> int:
        return hash((self.low, self.high))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a gateway without its metrics, or of the part of it that a dashboard's variables choose."""

    load: Load
    instance: str
    # By name: whether the last attempt succeeded; breakers that opened during the load, and that are open.
    health: Mapping[str, int]
    openings: Mapping[str, int]
    refusals: Mapping[str, int]
    open_streams: int
    budgets: Mapping[str, float]
    forecasts: Mapping[str, Between]
    config_version: int
    workers: int
    cpu_seconds: float
    memory_bytes: float
    open_files_ratio: float

    def sums(
        self,
        *labels: Callable[[Row], str],
        of: Callable[[Row], float] = lambda row: row["requests"],
        where: Callable[[Row], bool] = lambda _: True,
        name: str = "{}",
    ) -> dict[str, float]:
        """Return sums over usage rows by legend: `name` with the labels of the row filled in."""
        found: dict[str, float] = {}
        for row in filter(where, self.load.rows):
            legend = name.format(*(label(row) for label in labels))
            found[legend] = found.get(legend, 0) + of(row)
        return found

    def of_instance(self, value: object) -> Numbers:
        return {self.instance: value}


def provider(row: Row) -> str:
    """Return the label of a row's provider."""
    return str(row["provider"]) if called(row) else "none"


def model(row: Row) -> str:
    """Return the label of a row's model; those that nobody serves share one."""
    name = row["model"] or "none"
    return "other" if name.startswith("nobody") else name


def _column(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name] or "none")


def _cost(row: Row) -> float:
    return float(row["cost_usd"] or 0)


def _hourly_cost(row: Row) -> float:
    # All of the load counts as one second.
    return _cost(row) * 3600


def _refused(row: Row) -> bool:
    return bool(row["status_code"] >= 500)


def _broken(row: Row) -> bool:
    return bool(row["status_code"] == 200 and row["outcome"] == "error")


def _failed(row: Row) -> bool:
    return _refused(row) or _broken(row)


def _with_credential(row: Row) -> bool:
    return row["credential"] is not None


def _tokens(facts: Facts) -> dict[str, float]:
    kinds = ("prompt", "completion", "cached", "reasoning")
    return {kind: sum(row[f"{kind}_tokens"] or 0 for row in facts.load.rows if called(row)) for kind in kinds}


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()} if whole else {}


def _failed_share(facts: Facts) -> dict[str, float]:
    failed = sum(facts.sums(provider, where=_failed).values())
    shares = _shares({"failed": failed, "all": sum(facts.sums(provider).values()) - failed})
    return {"failed": shares.get("failed", 0.0)}


def _attempts(facts: Facts, *columns: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for attempt in facts.load.failed_attempts:
        legend = " ".join(str(attempt[column]) for column in columns)
        found[legend] = found.get(legend, 0) + 1
    return found


def quantile_ms(times_ms: Sequence[float], quantile: float) -> float:
    """Return a quantile in seconds, as Prometheus finds it in the buckets of the gateway's histograms."""
    bounds = [0.0, *catalogue.REQUEST_DURATION.buckets]
    rank = quantile * len(times_ms)
    for low, high in itertools.pairwise(bounds):
        below = sum(each / 1000 <= high for each in times_ms)
        if below >= rank:
            before = sum(each / 1000 <= low for each in times_ms) if low else 0
            return low + (high - low) * (rank - before) / (below - before)
    raise AssertionError("slower than the last bucket")


def _quantiles(
    column: str,
    where: Callable[[Row], bool],
    parts: Iterable[float],
    label: Callable[[Row], str] | None = None,
) -> Callable[[Facts], Numbers]:
    """Return the quantiles of a column by legend: by a label, or P50, P95 and so on."""

    def numbers(facts: Facts) -> Numbers:
        groups: dict[str, list[float]] = {}
        for row in filter(where, facts.load.rows):
            groups.setdefault(label(row) if label else "", []).append(row[column])
        return {
            name or f"P{part * 100:g}": quantile_ms(times, part)
            for name, times in groups.items()
            for part in parts
        }

    return numbers


def _any(_: Row) -> bool:
    return True


def _answered(row: Row) -> bool:
    return called(row) and row["outcome"] == "ok"


def _streamed(row: Row) -> bool:
    return called(row) and row["ttft_ms"] is not None


_PARTS: Final = (0.5, 0.95, 0.99)

OVERVIEW: Final[dict[str, Callable[[Facts], Numbers]]] = {
    "Requests per second": lambda facts: facts.sums(name="requests"),
    "Failed requests": _failed_share,
    "Latency, P95": _quantiles("latency_ms", _any, [0.95]),
    "Active requests": lambda facts: {"active": facts.open_streams},
    "Tokens per second": lambda facts: {"tokens": _tokens(facts)["prompt"] + _tokens(facts)["completion"]},
    "Cost per hour": lambda facts: facts.sums(name="USD per hour", of=_hourly_cost),
    "Request rate by endpoint": lambda facts: facts.sums(_column("endpoint")),
    "Status codes": lambda facts: facts.sums(_column("status_code")),
    "Active requests by instance": lambda facts: facts.of_instance(facts.open_streams),
    "Request rate by model": lambda facts: facts.sums(model),
    "Request duration": _quantiles("latency_ms", _any, _PARTS),
    "Time to first token": _quantiles("ttft_ms", _streamed, _PARTS),
    "Tokens by type": _tokens,
    "Load by provider": lambda facts: _shares(facts.sums(provider, where=called)),
}

PROVIDERS: Final[dict[str, Callable[[Facts], Numbers]]] = {
    "Health": lambda facts: facts.health,
    "Open circuit breakers": lambda facts: facts.openings,
    "Breaker openings": lambda facts: facts.openings,
    "Failed attempts by reason": lambda facts: _attempts(facts, "provider", "reason"),
    "Latency, P50": _quantiles("upstream_latency_ms", _answered, [0.5], provider),
    "Latency, P95": _quantiles("upstream_latency_ms", _answered, [0.95], provider),
    "Time to first token, P95, by provider": _quantiles("ttft_ms", _streamed, [0.95], provider),
    "Time to first token, P95, by model": _quantiles("ttft_ms", _streamed, [0.95], model),
    "Requests by provider": lambda facts: facts.sums(provider, where=called),
    "Failed requests by provider": lambda facts: {
        **facts.sums(
            provider,
            _column("status_code"),
            name="{} {}",
            where=lambda row: called(row) and _refused(row),
        ),
        **facts.sums(provider, name="{} broken streams", where=_broken),
    },
    "Steps after a failed attempt": lambda facts: _attempts(facts, "next_step"),
    "Steps by the provider that failed": lambda facts: _attempts(facts, "provider", "next_step"),
}

MONEY: Final[dict[str, Callable[[Facts], Numbers]]] = {
    "Spent by model": lambda facts: facts.sums(model, of=_cost),
    "Spent by credential": lambda facts: facts.sums(_column("credential"), of=_cost),
    "Spent by tenant": lambda facts: facts.sums(_column("tenant"), of=_cost),
    "Cost per hour by model and provider": lambda facts: facts.sums(
        model, provider, of=_hourly_cost, name="{} at {}"
    ),
    "Cost per hour by credential": lambda facts: facts.sums(_column("credential"), of=_hourly_cost),
    "Requests without a known price": lambda facts: facts.sums(
        model,
        _column("unpriced"),
        name="{}: {}",
        where=lambda row: called(row) and row["unpriced"] is not None,
    ),
    "Requests by credential": lambda facts: facts.sums(
        _column("credential"), _column("outcome"), name="{}: {}", where=_with_credential
    ),
    "Refused by a limit or a budget": lambda facts: facts.refusals,
    "Budgets: used": lambda facts: facts.budgets,
    "Budgets: used, over time": lambda facts: facts.budgets,
    "Budgets: forecast for 24 hours": lambda facts: facts.forecasts,
    "Budgets: out of reach": lambda facts: facts.of_instance(0),
}

GATEWAY: Final[dict[str, Callable[[Facts], Numbers]]] = {
    "CPU": lambda facts: facts.of_instance(Between(0.001, facts.cpu_seconds)),
    "Memory": lambda facts: facts.of_instance(Between(0.7 * facts.memory_bytes, 1.3 * facts.memory_bytes)),
    "Event loop lag": lambda facts: facts.of_instance(Between(0, 60)),
    "Workers": lambda facts: facts.of_instance(facts.workers),
    "Open files and connections": lambda facts: facts.of_instance(
        Between(0.5 * facts.open_files_ratio, 2 * facts.open_files_ratio)
    ),
    "Database pool": lambda facts: facts.of_instance(Between(0, 1)),
    "Connections to providers": lambda facts: {"busy": facts.open_streams, "idle": Between(0, 100)},
    "Full garbage collections": lambda facts: facts.of_instance(Between(0, 1000)),
    "Configuration version": lambda facts: facts.of_instance(facts.config_version),
    "Faulty rows": lambda facts: facts.of_instance(0),
    "Workers behind": lambda facts: facts.of_instance(0),
    "Database replaced": lambda facts: facts.of_instance(0),
    "Waiting in the journal": lambda facts: facts.of_instance(Between(0, 1_000_000)),
    "Oldest waiting record": lambda facts: facts.of_instance(Between(0, 60)),
    "Where records go": lambda facts: {f"{facts.instance} down": 0, f"{facts.instance} backup": 0},
    "Lost or set aside": lambda _: {"lost": 0, "set aside": 0, "syncs that failed": 0},
    "Reply cache": lambda facts: facts.load.cache,
    "Failures of cache and logs": lambda _: {"cache failures": 0, "dropped log lines": 0},
    "Holds under limits": lambda facts: facts.of_instance(facts.open_streams),
    "Unreadable metrics": lambda facts: facts.of_instance(0),
}

EXPECTED: Final = {
    (f"llm-gateway-{board}", title): numbers
    for board, panels in {
        "overview": OVERVIEW,
        "providers": PROVIDERS,
        "money": MONEY,
        "gateway": GATEWAY,
    }.items()
    for title, numbers in panels.items()
}
