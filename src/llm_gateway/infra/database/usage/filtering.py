"""The conditions of a filter of usage rows, in SQL."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.database import tables

_EQUAL: Final = (
    *("credential", "provider", "model", "outcome", "request_id"),
    *("tenant", "project", "agent", "end_user", "channel", "soeid"),
)


def conditions(wanted: UsageFilter) -> list[sa.ColumnElement[bool]]:
    """Return what all rows that `wanted` means have in common."""
    usage = tables.usage.c
    found: list[sa.ColumnElement[bool]] = [
        usage[name] == value for name in _EQUAL if (value := getattr(wanted, name)) is not None
    ]
    if wanted.outcome is not None and wanted.outcome != "ok":
        # As the index by outcome says it: a database does not infer it from a parameter's value.
        found.append(usage.outcome != sa.literal_column("'ok'"))
    for column, since, until in (
        (usage.created_at, wanted.since, wanted.until),
        (usage.finished_at, wanted.finished_since, wanted.finished_until),
    ):
        if since is not None:
            found.append(column >= since)
        if until is not None:
            found.append(column < until)
    return found
