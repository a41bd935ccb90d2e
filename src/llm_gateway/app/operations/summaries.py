"""The commands about what usage adds up to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_gateway.app.storage import open_existing_storage
from llm_gateway.core.times import iso_time
from llm_gateway.flow.ports.usage import InexactRange, SummaryDimension, SummaryTooLarge
from llm_gateway.flow.usage_summary import inexact_range, read_query, show_summary, too_large
from llm_gateway.infra.database.usage.rebuilding import DAY, RollupBuilder
from llm_gateway.settings import Settings


async def summarize_usage(
    settings: Settings,
    *,
    since: str | None = None,
    until: str | None = None,
    group_by: str | None = None,
    time_zone: str | None = None,
    filters: dict[SummaryDimension, str | None],
) -> dict[str, Any]:
    """Return what `GET /admin/v1/usage/summary` answers, of what the database holds; raise GatewayError."""
    zone = settings.time_zone if time_zone is None else time_zone
    query, names = read_query(since=since, until=until, group_by=group_by, time_zone=zone, filters=filters)
    async with open_existing_storage(settings) as storage:
        try:
            summary = await storage.usage.summarize(query)
        except InexactRange as error:
            raise inexact_range(error) from None
        except SummaryTooLarge:
            raise too_large() from None
    return show_summary(summary, query, names, zone)


async def rebuild_rollups(
    settings: Settings, *, since: int | None, until: int | None, report: Callable[[str], None]
) -> None:
    """Add up the rows of each day (UTC) of a range anew, newest first; say what was done, day by day."""
    async with open_existing_storage(settings) as storage:
        builder = RollupBuilder(storage.engine)
        stored = await builder.days()
        if stored is None:
            report("There are no usage rows.")
            return
        start = stored[0] if since is None else max(stored[0], since - since % DAY)
        end = stored[1] if until is None else min(stored[1], (until - 1) // DAY * DAY)
        for day in range(end, start - 1, -DAY):
            rebuilt = await builder.rebuild(day)
            kept = f"; {rebuilt.kept_hours} hours stay as they are, because rows of theirs are deleted"
            report(f"{iso_time(day)[:10]}: {rebuilt.rows} rows{kept if rebuilt.kept_hours else ''}")
        if since is None and until is None:
            await builder.all_added()
