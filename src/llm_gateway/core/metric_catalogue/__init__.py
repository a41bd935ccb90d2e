"""The catalogue of Prometheus metrics: the only place that names a metric.

The code that counts, `docs/metrics.md`, dashboards and alerts all read it.
"""

from __future__ import annotations

from llm_gateway.core.metric_catalogue.metric import Metric, MetricType, Unit
from llm_gateway.core.metric_catalogue.processes import (
    CPU_SECONDS,
    DATABASE_POOL_USED,
    FULL_COLLECTIONS,
    LOOP_LAG,
    MEMORY,
    OPEN_FILES,
    OPEN_FILES_USED,
    UPSTREAM_CONNECTIONS,
    WORKERS,
)
from llm_gateway.core.metric_catalogue.usage import (
    JOURNAL_BACKLOG,
    JOURNAL_LIMIT,
    JOURNAL_OLDEST,
    JOURNAL_OTHERS,
    LOST_RECORDS,
    REJECTED_RECORDS,
    SYNC_FAILURES,
    USAGE_BACKUP_IN_USE,
    USAGE_STORE_DOWN,
)

__all__ = [
    "ACTIVE_REQUESTS",
    "BREAKER_OPENINGS",
    "BROKEN_STREAMS",
    "BUDGETS_AWAY",
    "BUDGET_USED",
    "CACHE_FAILURES",
    "CACHE_REQUESTS",
    "CATALOGUE",
    "CONFIG_FAULTY_ROWS",
    "CONFIG_REFUSED",
    "CONFIG_VERSION",
    "COST",
    "CPU_SECONDS",
    "CREDENTIAL_COST",
    "CREDENTIAL_REQUESTS",
    "DATABASE_POOL_USED",
    "DATABASE_REPLACED",
    "DROPPED_LOG_LINES",
    "FAILED_ATTEMPTS",
    "FULL_COLLECTIONS",
    "HELD_REQUESTS",
    "JOURNAL_BACKLOG",
    "JOURNAL_LIMIT",
    "JOURNAL_OLDEST",
    "JOURNAL_OTHERS",
    "LIMIT_REFUSALS",
    "LOOP_LAG",
    "LOST_RECORDS",
    "MEMORY",
    "OPEN_BREAKERS",
    "OPEN_FILES",
    "OPEN_FILES_USED",
    "PROVIDER_HEALTH",
    "PROVIDER_LATENCY",
    "RECOVERY_STEPS",
    "REJECTED_RECORDS",
    "REQUESTS",
    "REQUEST_DURATION",
    "STALE_WORKERS",
    "SYNC_FAILURES",
    "TIME_TO_FIRST_TOKEN",
    "TOKENS",
    "UNPRICED_REQUESTS",
    "UNREADABLE_METRICS_FILES",
    "UPSTREAM_CONNECTIONS",
    "USAGE_BACKUP_IN_USE",
    "USAGE_STORE_DOWN",
    "WORKERS",
    "Metric",
    "MetricType",
    "Unit",
]

# Name and labels of the metrics that start with `llm_proxy_` are those of the reference system.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

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
COST = Metric(
    name="llm_gateway_cost_usd_total",
    type="counter",
    labels=("model", "provider"),
    unit="usd",
    help=(
        "Cost of requests whose price is known, in USD; that of all attempts counts for the provider of the last one."
    ),
    appears_after="a request that cost something",
)
UNPRICED_REQUESTS = Metric(
    name="llm_gateway_unpriced_requests_total",
    type="counter",
    labels=("model", "provider", "reason"),
    unit="requests",
    help=(
        "Requests that used something and have no known cost, by reason: unknown_provider, unknown_model, no_price, "
        "unreported_usage, inconsistent_usage, audio_without_price."
    ),
    appears_after="a request whose cost is not known",
)
CREDENTIAL_REQUESTS = Metric(
    name="llm_gateway_credential_requests_total",
    type="counter",
    labels=("credential", "tenant", "outcome"),
    unit="requests",
    help=(
        "Finished requests by the name of their credential, its tenant (none without one) and their outcome: ok, "
        "error, aborted, interrupted or rejected."
    ),
    appears_after="a request with a key",
)
CREDENTIAL_COST = Metric(
    name="llm_gateway_credential_cost_usd_total",
    type="counter",
    labels=("credential", "tenant"),
    unit="usd",
    help="Cost of requests whose price is known, in USD, by the name of their credential and its tenant.",
    appears_after="a request that cost something",
)
BROKEN_STREAMS = Metric(
    name="llm_gateway_broken_streams_total",
    type="counter",
    labels=("model", "provider"),
    unit="requests",
    help=(
        "Streams that failed after their first content; the client got an error event, and the status is still 200."
    ),
    appears_after="a stream that broke",
)
PROVIDER_HEALTH = Metric(
    name="llm_proxy_provider_health",
    type="gauge",
    labels=("provider",),
    unit="boolean",
    help=(
        "1 if the enabled provider is healthy; 0 if its last request or health probe failed: it was unreachable, or "
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
    help=(
        "Attempts that failed, by reason: connect, cut, timeout, protocol, status, account (the provider refuses the "
        "operator's account), unserved (it has no such model or endpoint), too_large."
    ),
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
    help=(
        "Circuit breakers of enabled providers that are open or half-open, summed over all workers; at most one "
        "second old."
    ),
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
LIMIT_REFUSALS = Metric(
    name="llm_gateway_limit_refusals_total",
    type="counter",
    labels=("scope", "limit"),
    unit="requests",
    help=(
        "Requests that a limit of use or a budget refused, by its scope (all, credential, tenant, project, agent, "
        "user) and the name of the limit, such as tokens_per_minute; budget for a budget that is used up, "
        "budget_unavailable while nobody can tell what is left."
    ),
    appears_after="a request that a limit of use or a budget refused",
)
BUDGET_USED = Metric(
    name="llm_gateway_budget_used_ratio",
    type="gauge",
    labels=("budget",),
    unit="ratio",
    help=(
        "The part of a budget that is spent or held in the current window, 0 to 1, for budgets that this machine "
        "uses at the moment and that are not of each agent or user."
    ),
    appears_after="a request under a budget",
)
BUDGETS_AWAY = Metric(
    name="llm_gateway_budgets_away",
    type="gauge",
    unit="boolean",
    help="1 while this machine cannot borrow from budgets because the database does not answer.",
)
HELD_REQUESTS = Metric(
    name="llm_gateway_limit_holds",
    type="gauge",
    unit="requests",
    help=(
        "Holds of open requests under limits of concurrent requests and of tokens on this machine; one request holds "
        "once for each of its accounts."
    ),
)
CONFIG_VERSION = Metric(
    name="llm_gateway_config_version",
    type="gauge",
    unit="version",
    help="Configuration version in force.",
)
STALE_WORKERS = Metric(
    name="llm_gateway_stale_workers",
    type="gauge",
    unit="workers",
    help="Workers of this machine that serve an older configuration than the newest one that it knows of.",
)
CONFIG_REFUSED = Metric(
    name="llm_gateway_config_refused",
    type="gauge",
    unit="boolean",
    help="1 while rows of the configuration are faulty and not served as they are stored; else 0.",
)
CONFIG_FAULTY_ROWS = Metric(
    name="llm_gateway_config_faulty_rows",
    type="gauge",
    unit="rows",
    help="Rows of the configuration that are faulty and not served as they are stored.",
)
DROPPED_LOG_LINES = Metric(
    name="llm_gateway_dropped_log_lines_total",
    type="counter",
    unit="lines",
    help=(
        "Lines of the access log and of all else that workers print which were dropped, because nothing read them or "
        "they could not be written."
    ),
)
UNREADABLE_METRICS_FILES = Metric(
    name="llm_gateway_unreadable_metrics_files",
    type="gauge",
    unit="files",
    help="Files with the metrics of other workers that this scrape could not read; what they count is missing.",
)
DATABASE_REPLACED = Metric(
    name="llm_gateway_database_replaced",
    type="gauge",
    unit="boolean",
    help="1 while the database is not used because its file was replaced or an older state restored; else 0.",
)

# In the order of docs/metrics.md.
CATALOGUE = (
    REQUESTS,
    REQUEST_DURATION,
    ACTIVE_REQUESTS,
    TOKENS,
    COST,
    UNPRICED_REQUESTS,
    CREDENTIAL_REQUESTS,
    CREDENTIAL_COST,
    BROKEN_STREAMS,
    PROVIDER_HEALTH,
    PROVIDER_LATENCY,
    TIME_TO_FIRST_TOKEN,
    FAILED_ATTEMPTS,
    RECOVERY_STEPS,
    BREAKER_OPENINGS,
    OPEN_BREAKERS,
    CACHE_REQUESTS,
    CACHE_FAILURES,
    LIMIT_REFUSALS,
    HELD_REQUESTS,
    BUDGET_USED,
    BUDGETS_AWAY,
    CONFIG_VERSION,
    STALE_WORKERS,
    CONFIG_REFUSED,
    CONFIG_FAULTY_ROWS,
    JOURNAL_BACKLOG,
    JOURNAL_LIMIT,
    JOURNAL_OLDEST,
    USAGE_STORE_DOWN,
    USAGE_BACKUP_IN_USE,
    JOURNAL_OTHERS,
    LOST_RECORDS,
    SYNC_FAILURES,
    REJECTED_RECORDS,
    DROPPED_LOG_LINES,
    UNREADABLE_METRICS_FILES,
    DATABASE_REPLACED,
    WORKERS,
    LOOP_LAG,
    FULL_COLLECTIONS,
    CPU_SECONDS,
    MEMORY,
    OPEN_FILES,
    OPEN_FILES_USED,
    UPSTREAM_CONNECTIONS,
    DATABASE_POOL_USED,
)
