"""Pages of usage rows, and one row with its attempts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from llm_gateway.core.errors import NotFound, Unavailable
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, finished_at
from llm_gateway.flow.paging import bad_cursor, make_cursor, read_cursor
from llm_gateway.flow.ports.usage import UsageFilter, UsageOrder, UsagePlace, UsageReader

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


async def find_request(
    usage: UsageReader, flush: Callable[[], Awaitable[bool]], request_id: str
) -> tuple[UsageRecord, Sequence[AttemptEnded]]:
    """Return the row of a request and its attempts, in order.

    Raise NotFound if there is none, and Unavailable if it may still be on its way to the database.
    """
    is_complete = await flush()
    # Neither store holds a NUL in a text, and PostgreSQL does not even compare with one.
    records = [] if "\0" in request_id else await usage.list(UsageFilter(request_id=request_id), None, 1)
    if records:
        return records[0], await usage.attempts(request_id)
    if not is_complete:
        raise Unavailable(
            "The database does not take usage rows at the moment, so the row of this request may follow later; "
            "try again shortly.",
            code="database_unavailable",
            retry_after=1,
        )
    raise NotFound(f"There is no usage row for the request {request_id!r}")
