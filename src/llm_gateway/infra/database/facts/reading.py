"""Reads stored facts. A value changed by hand that makes no sense is replaced, so that lists are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any, TypeVar, get_args

import msgspec
import sqlalchemy as sa
from loguru import logger

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.infra.database.facts.fitting import LONGEST_MS
from llm_gateway.infra.database.facts.inserting import JSON_COLUMNS
from llm_gateway.infra.database.tables import to_unix_us

_Fact = TypeVar("_Fact", UsageRecord, AttemptEnded, TelemetryEvent)
# What can be shown as a time, with a latency added; texts, which are no times, are sorted last by SQLite as well.
_LAST_TIME = to_unix_us(datetime(9000, 1, 1, tzinfo=UTC))
_TIMES = frozenset({"created_at", "started_at"})
# What a row is called, and the column that names it.
_ROWS = {
    UsageRecord: ("usage row of the request", "request_id"),
    AttemptEnded: ("usage row of the request", "request_id"),
    TelemetryEvent: ("telemetry event", "event_id"),
}


def readable_columns(table: sa.Table, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    """Return the columns as `read_fact` takes them: JSON as its text, which may not be JSON if written by hand."""
    return [
        sa.cast(table.c[name], sa.Text).label(name) if name in JSON_COLUMNS else table.c[name]
        for name in names
    ]


def read_fact(row: Mapping[str, Any], kind: type[_Fact]) -> _Fact:
    """Return the record of a row; log which columns hold what the gateway did not write, and leave those out."""
    # SQLAlchemy's names of columns are no plain strings, which alone msgspec takes.
    values = {name: row[name] for name in kind.__struct_fields__ if name in row}
    for name in JSON_COLUMNS & values.keys():
        values[name] = _parsed(values[name])
    try:
        fact = msgspec.convert(values, kind)
    except msgspec.ValidationError:
        return _repaired(values, kind)
    return fact if all(map(_is_in_range, values, values.values())) else _repaired(values, kind)


def _parsed(value: object) -> object:
    """Return what JSON text says. What is not JSON stays, and then is not what the field takes."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _is_in_range(name: str, value: object) -> bool:
    if type(value) is float:
        return -LONGEST_MS < value < LONGEST_MS
    return name not in _TIMES or (isinstance(value, int) and 0 <= value <= _LAST_TIME)


def _repaired(values: dict[str, Any], kind: type[_Fact]) -> _Fact:
    replaced = []
    for field in msgspec.structs.fields(kind):
        name = field.name
        if name in values and not (_has_type(values[name], field) and _is_in_range(name, values[name])):
            replaced.append(name)
            values[name] = _stand_in(field)
    row, key = _ROWS[kind]
    logger.warning(
        "The {} {!r} cannot be read in full: {} must have been changed by hand.",
        *(row, values[key], ", ".join(replaced)),
    )
    return kind(**values)


def _has_type(value: object, field: msgspec.structs.FieldInfo) -> bool:
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        return False
    return True


def _stand_in(field: msgspec.structs.FieldInfo) -> object:
    if NoneType in get_args(field.type):
        return None
    if field.name in _TIMES:
        return _LAST_TIME
    return {int: 0, float: 0.0, bool: False, str: ""}.get(field.type, "error")
