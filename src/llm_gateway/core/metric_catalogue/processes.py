"""Metrics of the worker processes."""

from __future__ import annotations

from llm_gateway.core.metric_catalogue.metric import Metric

WORKERS = Metric(
    name="llm_gateway_workers",
    type="gauge",
    unit="workers",
    help="Worker processes that serve on this machine.",
)
LOOP_LAG = Metric(
    name="llm_gateway_event_loop_lag_seconds",
    type="gauge",
    unit="seconds",
    help=(
        "How late the event loop of a worker was at worst in its last 15 seconds, or is now; that of the worst "
        "worker."
    ),
)
FULL_COLLECTIONS = Metric(
    name="llm_gateway_gc_full_collections_total",
    type="counter",
    unit="collections",
    help="Full collections of Python's garbage collector, during which a worker does nothing else.",
)
CPU_SECONDS = Metric(
    name="llm_gateway_cpu_seconds_total",
    type="counter",
    unit="seconds",
    help="CPU time that the workers have used.",
)
MEMORY = Metric(
    name="llm_gateway_resident_memory_bytes",
    type="gauge",
    unit="bytes",
    help="Resident memory of the workers, summed; pages that they share count for each.",
)
OPEN_FILES = Metric(
    name="llm_gateway_open_files",
    type="gauge",
    unit="files",
    help="Open files and connections of the workers, summed; at most ten seconds old.",
)
OPEN_FILES_USED = Metric(
    name="llm_gateway_open_files_used_ratio",
    type="gauge",
    unit="ratio",
    help="The part of its limit of open files and connections that a worker uses; that of the worst worker.",
)
UPSTREAM_CONNECTIONS = Metric(
    name="llm_gateway_upstream_connections",
    type="gauge",
    labels=("state",),
    unit="connections",
    help="Connections of the workers to providers, by state: busy, idle; those of the gateway's own pool only.",
)
DATABASE_POOL_USED = Metric(
    name="llm_gateway_database_pool_used_ratio",
    type="gauge",
    unit="ratio",
    help="The part of its pool of database connections that a worker uses; that of the worst worker.",
)
