"""What `usage spool` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

_STORES = {
    "primary": "usage records go to the database",
    "backup": "usage records go to the backup database, because the database does not take them",
    "none": "no database takes usage records at the moment",
}


def spool_lines(spool: Any, now: datetime) -> Iterator[str]:  # noqa: ANN401 - `app.operations.spool.Spool`, imported on demand
    """Return a `Spool` as text, a line each."""
    if not spool.databases:
        yield "Nothing waits: no gateway has served from this DATA_DIR."
    for one in spool.databases:
        yield f"Database {one.database} (id {one.id})" + ("" if one.is_current else ", not the one of DB_URL")
        yield f"  journal: {one.folder}"
        if one.is_shipped:
            yield f"  A gateway is running; {_STORES[one.store]}."
        else:
            yield "  No gateway is running with it."
        yield f"  waiting: {_waiting([process.waiting for process in one.processes], now)}"
        for process in one.processes:
            state = "running" if process.is_running else "ended"
            yield f"    process {process.process} ({state}): {_waiting([process.waiting], now)}"
        if one.csv_copy is not None:
            yield f"  readable copy: {one.csv_copy}"
        if one.rejected:
            yield f"  rejected: {_count(one.rejected, 'record')}; rejected.jsonl in the journal's folder says why"
        if any(_records(process.waiting) for process in one.processes) and not one.is_shipped:
            yield (
                "  Start the gateway, or run `llm-gateway usage spool --ship`."
                if one.is_current
                else "  Set DB_URL to this database and run `llm-gateway usage spool --ship`."
            )
    if spool.backup is not None:
        contents = f"{spool.backup.database} (BACKUP_DB_URL)"
        if spool.backup.records is None:
            yield f"Backup {contents}: {spool.backup.problem}"
        else:
            yield f"Backup {contents}: {_count(spool.backup.records, 'record')} to move into the database"


def _records(waiting: Any) -> int:  # noqa: ANN401
    return int(waiting.records + waiting.attempts + waiting.events)


def _waiting(parts: Sequence[Any], now: datetime) -> str:
    records, attempts = sum(one.records for one in parts), sum(one.attempts for one in parts)
    events = sum(one.events for one in parts)
    files, size = sum(one.files for one in parts), sum(one.size for one in parts)
    text = (
        f"{_count(records, 'request')}, {_count(attempts, 'failed attempt')} and {_count(events, 'event')} in "
        f"{_count(files, 'file')} "
        f"({size:,} bytes)"
    )
    oldest = min((one.oldest for one in parts if one.oldest is not None), default=None)
    if oldest is None:
        return text
    ended = datetime.fromtimestamp(oldest / 1e6, UTC)
    return (
        f"{text}, the oldest from {ended:%Y-%m-%d %H:%M:%S} UTC ({_age((now - ended).total_seconds())} ago)"
    )


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
