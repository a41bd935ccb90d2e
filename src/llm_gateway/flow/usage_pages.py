"""Cursors of lists of usage rows."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.ledger.records import UsageRecord, finished_at
from llm_gateway.flow.paging import bad_cursor, make_cursor, read_cursor
from llm_gateway.flow.ports.usage import UsageOrder, UsagePlace

# What the cursors of a list in this order begin with.
_MARKS: Final[dict[UsageOrder, str]] = {"created_at": "c", "finished_at": "f"}


def place_cursor(record: UsageRecord, order: UsageOrder) -> str:
    """Return the cursor of the page that starts after `record`."""
    at = record.created_at if order == "created_at" else finished_at(record)
    return make_cursor(f"{_MARKS[order]}{at}.{record.request_id}")


def place_after(cursor: str | None, order: UsageOrder) -> UsagePlace | None:
    """Return the place that `cursor` stands for, None for the start of the list; raise Unprocessable."""
    if cursor is None:
        return None
    mark, place = read_cursor(cursor)[:1], read_cursor(cursor)[1:]
    at, _, request_id = place.partition(".")
    if mark != _MARKS[order] or not (at.isascii() and at.isdigit() and len(at) < 18) or "\0" in request_id:
        raise bad_cursor()
    return UsagePlace(int(at), request_id)
