"""Gateway: the processes, their configuration, and the way of usage records into the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.metric_catalogue import Metric
from monitoring.dashboards.choices import INSTANCE, OF_INSTANCE
from monitoring.model import Dashboard, Panel, Query, Row, Unit, rate


def _gauge(
    metric: Metric, title: str, description: str, unit: Unit, *, alarm_from: float | None = None
) -> Panel:
    """Return a panel with one line for each instance."""
    expr = f"max by (instance) ({metric.name}{{{OF_INSTANCE}}})"
    return Panel(
        title=title,
        description=description,
        unit=unit,
        queries=(Query(expr, "{{instance}}"),),
        alarm_from=alarm_from,
    )


def _row(title: str, *panels: Panel) -> Row:
    """Return a row with four panels beside each other."""
    return Row(title=title, panels=tuple(replace(panel, width=6, height=7) for panel in panels))


_PROCESSES: Final = _row(
    "Processes",
    Panel(
        title="CPU",
        description="CPU time of all workers; 1 is a whole core. A worker uses one core at most.",
        unit="short",
        queries=(Query(rate(catalogue.CPU_SECONDS, "instance", where=OF_INSTANCE), "{{instance}}"),),
        shape="stack",
    ),
    _gauge(
        catalogue.MEMORY,
        "Memory",
        "Resident memory of the workers. It follows open streams, and large bodies for a while.",
        "bytes",
    ),
    _gauge(
        catalogue.LOOP_LAG,
        "Event loop lag",
        "How late the worst worker was. All of its requests and streams waited for so long.",
        "s",
        alarm_from=0.25,
    ),
    _gauge(
        catalogue.WORKERS,
        "Workers",
        "Worker processes that serve. Fewer than WORKERS: one has died and is being started again.",
        "none",
    ),
    _gauge(
        catalogue.OPEN_FILES_USED,
        "Open files and connections",
        "The part of its limit that the worst worker uses. At 100 % it takes no more connections.",
        "percentunit",
        alarm_from=0.9,
    ),
    _gauge(
        catalogue.DATABASE_POOL_USED,
        "Database pool",
        "The part of its connections that the worst worker uses. Requests to providers do not need them.",
        "percentunit",
        alarm_from=0.9,
    ),
    Panel(
        title="Connections to providers",
        description="busy: a request or stream is on it; idle: kept open for the next one.",
        unit="short",
        queries=(
            Query(f"sum by (state) ({catalogue.UPSTREAM_CONNECTIONS.name}{{{OF_INSTANCE}}})", "{{state}}"),
        ),
        shape="stack",
    ),
    Panel(
        title="Full garbage collections",
        description="Per second. A worker does nothing else meanwhile.",
        unit="ops",
        queries=(Query(rate(catalogue.FULL_COLLECTIONS, "instance", where=OF_INSTANCE), "{{instance}}"),),
    ),
)

_CONFIGURATION: Final = _row(
    "Configuration",
    _gauge(
        catalogue.CONFIG_VERSION,
        "Configuration version",
        "In force on each machine. Machines that do not follow within seconds cannot reach the database.",
        "none",
    ),
    _gauge(
        catalogue.CONFIG_FAULTY_ROWS,
        "Faulty rows",
        "Rows that are not served as they are stored. /health/detailed names them.",
        "short",
        alarm_from=1,
    ),
    _gauge(
        catalogue.STALE_WORKERS,
        "Workers behind",
        "Workers that serve an older configuration than the newest that their machine knows of.",
        "short",
        alarm_from=1,
    ),
    _gauge(
        catalogue.DATABASE_REPLACED,
        "Database replaced",
        "1: the database was replaced or an older state restored, and is not used. See the runbook.",
        "short",
        alarm_from=1,
    ),
)

_RECORDS: Final = _row(
    "Usage records",
    _gauge(
        catalogue.JOURNAL_BACKLOG,
        "Waiting in the journal",
        "Usage records that no database has yet. It grows while the database is away; nothing is lost.",
        "bytes",
    ),
    _gauge(
        catalogue.JOURNAL_OLDEST,
        "Oldest waiting record",
        "Time for which the oldest record has waited for a database. Seconds are normal.",
        "s",
        alarm_from=300,
    ),
    Panel(
        title="Where records go",
        description="down: no database takes them; backup: they go to the backup database, or wait there.",
        unit="short",
        queries=(
            Query(
                f"max by (instance) ({catalogue.USAGE_STORE_DOWN.name}{{{OF_INSTANCE}}})",
                "{{instance}} down",
            ),
            Query(
                f"max by (instance) ({catalogue.USAGE_BACKUP_IN_USE.name}{{{OF_INSTANCE}}})",
                "{{instance}} backup",
            ),
        ),
        alarm_from=1,
    ),
    Panel(
        title="Lost or set aside",
        description="Lost: the disk had no room. Set aside: in rejected.jsonl. Anything but 0 needs a look.",
        unit="ops",
        queries=(
            Query(rate(catalogue.LOST_RECORDS, where=OF_INSTANCE), "lost"),
            Query(rate(catalogue.REJECTED_RECORDS, where=OF_INSTANCE), "set aside"),
            Query(rate(catalogue.SYNC_FAILURES, where=OF_INSTANCE), "syncs that failed"),
        ),
    ),
)

_PARTS: Final = _row(
    "Cache, limits and logs",
    Panel(
        title="Reply cache",
        description="hit: answered from the cache; miss: asked a provider; bypass: the cache did not apply.",
        unit="reqps",
        queries=(Query(rate(catalogue.CACHE_REQUESTS, "result", where=OF_INSTANCE), "{{result}}"),),
        shape="stack",
        no_value="the cache is not used",
    ),
    Panel(
        title="Failures of cache and logs",
        description="Redis did not do a lookup or a write; nothing read log lines in time. Requests went on without.",
        unit="ops",
        queries=(
            Query(rate(catalogue.CACHE_FAILURES, where=OF_INSTANCE), "cache failures"),
            Query(rate(catalogue.DROPPED_LOG_LINES, where=OF_INSTANCE), "dropped log lines"),
        ),
    ),
    _gauge(
        catalogue.HELD_REQUESTS,
        "Holds under limits",
        "Open requests that hold a place or tokens under a limit. It is 0 when nothing is in flight.",
        "short",
    ),
    _gauge(
        catalogue.UNREADABLE_METRICS_FILES,
        "Unreadable metrics",
        "Files with counts of other workers that could not be read: what they count is missing in all panels.",
        "short",
        alarm_from=1,
    ),
)

GATEWAY: Final = Dashboard(
    uid="llm-gateway-gateway",
    title="LLM gateway: the gateway itself",
    description="The processes, their configuration, and the way of usage records into the database.",
    variables=(INSTANCE,),
    rows=(_PROCESSES, _CONFIGURATION, _RECORDS, _PARTS),
)
