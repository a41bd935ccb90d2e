"""The catalogue of Prometheus metrics: the only place that names a metric.

The code that counts, `docs/metrics.md`, dashboards and alerts all read it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MetricType = Literal["counter", "gauge", "histogram"]
Unit = Literal[
    "requests", "seconds", "tokens", "attempts", "breakers", "records", "bytes", "version", "boolean"
]

# Name and labels of the metrics that start with `llm_proxy_` are those of the reference system.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


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


REQUESTS = Metric(
    name="llm_proxy_requests_total",
    type="counter",
    labels=("method", "endpoint", "model", "provider", "status_code"),
    unit="requests",
    help="Finished requests, by the status that the client received; 499 if it disconnected before that.",
    appears_after="a finished request",
)
REQUEST_DURATION = Metric(
    name="llm_proxy_request_duration_seconds",
    type="histogram",
    labels=("method", "endpoint", "model", "provider"),
    unit="seconds",
    help="Time from the first byte of a request to the last byte of its reply.",
    buckets=_SECONDS,
    appears_after="a finished request",
)
ACTIVE_REQUESTS = Metric(
    name="llm_proxy_active_requests",
    type="gauge",
    unit="requests",
    help="Requests in flight on this machine.",
)
TOKENS = Metric(
    name="llm_proxy_tokens_total",
    type="counter",
    labels=("model", "provider", "token_type"),
    unit="tokens",
    help="Tokens by type: prompt, completion, cached (included in prompt) and reasoning (included in completion).",
    appears_after="a request that reached a provider",
)
PROVIDER_HEALTH = Metric(
    name="llm_proxy_provider_health",
    type="gauge",
    labels=("provider",),
    unit="boolean",
    help=(
        "1 if the provider is healthy; 0 if its last request or health probe failed: it was unreachable, or "
        "answered 401, 500, 502, 503 or 504."
    ),
    appears_after="a provider's first answer or failure",
)
PROVIDER_LATENCY = Metric(
    name="llm_proxy_provider_latency_seconds",
    type="histogram",
    labels=("provider",),
    unit="seconds",
    help="Time that a provider took for its whole reply.",
    buckets=_SECONDS,
    appears_after="a request that reached a provider",
)
TIME_TO_FIRST_TOKEN = Metric(
    name="llm_gateway_time_to_first_token_seconds",
    type="histogram",
    labels=("model", "provider"),
    unit="seconds",
    help="Time from the first byte of a streaming request to the first content of its reply.",
    buckets=_SECONDS,
    appears_after="a request that reached a provider",
)
FAILED_ATTEMPTS = Metric(
    name="llm_gateway_failed_attempts_total",
    type="counter",
    labels=("provider", "reason"),
    unit="attempts",
    help="Attempts that failed, by reason.",
    appears_after="a failed attempt",
)
RECOVERY_STEPS = Metric(
    name="llm_gateway_recovery_steps_total",
    type="counter",
    labels=("provider", "step"),
    unit="attempts",
    help=(
        "Steps taken after a failed attempt, by the provider that failed: failover (another deployment), "
        "fallback (another model), retry (the same deployment, later), give_up, over_budget (the retry budget "
        "is spent)."
    ),
    appears_after="a failed attempt",
)
BREAKER_OPENINGS = Metric(
    name="llm_gateway_breaker_openings_total",
    type="counter",
    labels=("provider",),
    unit="breakers",
    help="Times that the circuit breaker of a deployment opened.",
    appears_after="a circuit breaker has opened",
)
OPEN_BREAKERS = Metric(
    name="llm_gateway_open_breakers",
    type="gauge",
    labels=("provider",),
    unit="breakers",
    help="Circuit breakers that are open or half-open, summed over all workers; at most one second old.",
    appears_after="a circuit breaker has opened",
)
CACHE_REQUESTS = Metric(
    name="llm_gateway_cache_requests_total",
    type="counter",
    labels=("result",),
    unit="requests",
    help="Requests that the reply cache applied to, by result: hit, miss or bypass.",
    appears_after="a request that the reply cache applies to",
)
CACHE_FAILURES = Metric(
    name="llm_gateway_cache_failures_total",
    type="counter",
    unit="requests",
    help="Lookups and writes of the reply cache that failed in Redis; a failed lookup is a miss.",
)
CONFIG_VERSION = Metric(
    name="llm_gateway_config_version",
    type="gauge",
    unit="version",
    help="Configuration version in force.",
)
CONFIG_REFUSED = Metric(
    name="llm_gateway_config_refused",
    type="gauge",
    unit="boolean",
    help="1 while the stored configuration is invalid and an older one is in force; else 0.",
)
JOURNAL_BACKLOG = Metric(
    name="llm_gateway_journal_backlog_bytes",
    type="gauge",
    unit="bytes",
    help="Usage records in the journal that are not yet in the database; grows while the database is down.",
)
LOST_RECORDS = Metric(
    name="llm_gateway_journal_lost_records_total",
    type="counter",
    unit="records",
    help="Usage records that could not be written to the journal, for lack of space.",
)
REJECTED_RECORDS = Metric(
    name="llm_gateway_journal_rejected_records_total",
    type="counter",
    unit="records",
    help="Usage records that were set aside because they could not be read.",
)

# In the order of docs/metrics.md.
CATALOGUE = (
    REQUESTS,
    REQUEST_DURATION,
    ACTIVE_REQUESTS,
    TOKENS,
    PROVIDER_HEALTH,
    PROVIDER_LATENCY,
    TIME_TO_FIRST_TOKEN,
    FAILED_ATTEMPTS,
    RECOVERY_STEPS,
    BREAKER_OPENINGS,
    OPEN_BREAKERS,
    CACHE_REQUESTS,
    CACHE_FAILURES,
    CONFIG_VERSION,
    CONFIG_REFUSED,
    JOURNAL_BACKLOG,
    LOST_RECORDS,
    REJECTED_RECORDS,
)
