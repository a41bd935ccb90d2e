"""The versions of the configuration: who changed what, with the values before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llm_gateway.console.formats import usd, when
from llm_gateway.console.path_ids import VERSION
from llm_gateway.console.rendering import page
from llm_gateway.console.services import services_of
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.config.rows.history import ChangedRow, HistoryEntry
from llm_gateway.flow.paging import ID_LIMIT

PATH: Final = "/console/configuration/versions"
_PAGE_SIZE: Final = 50
# Changed rows that a page shows.
_MOST_ROWS: Final = 100
_LONGEST: Final = 1000
# The empty catalog of a new database.
_FIRST_VERSION: Final = 1
_SECRET: Final = frozenset({"api_key", "key", "key_hash", "previous_key_hash", "secret"})
_REFERENCE: Final = "env:"
_MASK: Final = "***"
_TIMES: Final = frozenset({"valid_from", "valid_until"})


class ChangedField(NamedTuple):
    """One line of the table of a row: its values before and after, as texts."""

    name: str
    before: str | Markup | None
    after: str | Markup | None


async def list_versions(request: Request) -> Response:
    """List the versions, newest first."""
    cursor = request.query_params.get("cursor") or None
    found = await services_of(request).history.page(cursor, _PAGE_SIZE)
    return page(
        request,
        "configuration/versions.html",
        path=PATH,
        entries=found.items,
        next_cursor=found.next_cursor,
        is_first=cursor is None,
    )


async def show_version(request: Request) -> Response:
    """Show what one version changed."""
    number = _version(request)
    entry = None if number == _FIRST_VERSION else await services_of(request).history.get(number)
    changes = None if entry is None or entry.note is None else entry.note.changes
    rows = () if changes is None else changes.rows
    return page(
        request,
        "configuration/version.html",
        path=PATH,
        number=number,
        entry=entry,
        changes=changes,
        rows=[(row, changed_fields(row)) for row in rows[:_MOST_ROWS]],
        more=max(len(rows) - _MOST_ROWS, 0) + (0 if changes is None else changes.omitted),
        longest=_LONGEST,
    )


async def show_value(request: Request) -> Response:
    """Return the whole of a value of which the page of its version shows the beginning."""
    entry = await services_of(request).history.get(_version(request))
    query = request.query_params
    text = _whole_value(entry, query.get("row", ""), query.get("side", ""), query.get("field", ""))
    if text is None:
        raise NotFound("This version has no such value.")
    return PlainTextResponse(text.encode("utf-8", "replace"))


def changed_fields(row: ChangedRow) -> list[ChangedField]:
    """Return the fields that a version changed. Of secrets, only that they did."""
    before, after = row.before or {}, row.after or {}
    fields = [ChangedField(name, _side(name, before), _side(name, after)) for name in {**before, **after}]
    # What is named as changed without a value is a secret, or was not recorded.
    known = {*before, *after}
    fields += [
        ChangedField(name, _MASK, _MASK) for name in row.fields if name in _SECRET and name not in known
    ]
    return fields


def _side(name: str, values: Mapping[str, Any]) -> str | Markup | None:
    if name not in values:
        return None
    value = values[name]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and name.endswith("_nano_usd"):
        return usd(value)
    if is_number and (name.endswith("_at") or name in _TIMES):
        return when(value)
    return _text(name, value)


def _text(name: str, value: object) -> str:
    if value is None:
        return "none"
    if name in _SECRET and not str(value).startswith(_REFERENCE):
        return _MASK
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()


def _whole_value(entry: HistoryEntry, number: str, side: str, field: str) -> str | None:
    changes = None if entry.note is None else entry.note.changes
    rows = () if changes is None else changes.rows
    if not (number.isascii() and number.isdigit() and len(number) < 9 and int(number) < len(rows)):
        return None
    row = rows[int(number)]
    values = (row.before if side == "before" else row.after if side == "after" else None) or {}
    return _text(field, values[field]) if field in values else None


def _version(request: Request) -> int:
    version: int = request.path_params["version"]
    if version > ID_LIMIT:
        raise NotFound("There is no such version.")
    return version


ROUTES: Final = [
    Route(PATH, list_versions, methods=["GET"]),
    Route(f"{PATH}/{VERSION}", show_version, methods=["GET"]),
    Route(f"{PATH}/{VERSION}/value", show_value, methods=["GET"]),
]
