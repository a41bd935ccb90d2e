"""The parts of the statements that store facts: a document for each batch in PostgreSQL, values in SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from llm_gateway.infra.database.facts.fitting import Line

# All are kept as text in SQLite.
JSON_COLUMNS: Final = frozenset({"attributes", "cost_breakdown", "quantities", "tags"})
TIME_COLUMNS: Final = frozenset({"created_at", "started_at"})

# The types of columns in PostgreSQL. Its dialect would name them too, but no gateway on SQLite loads that.
_POSTGRES_TYPES: Final[Mapping[type[sa.types.TypeEngine[Any]], str]] = {
    sa.BigInteger: "bigint",
    sa.Boolean: "boolean",
    sa.Double: "double precision",
    sa.Integer: "integer",
    sa.JSON: "json",
    sa.Text: "text",
}
_encode: Final = msgspec.json.Encoder().encode


def document(lines: Sequence[Line[Any]]) -> str:
    """Return the lines as one JSON document, as PostgreSQL's json_to_recordset takes it."""
    return (b"[" + b",".join([line.json for line in lines]) + b"]").decode()


def stored_values(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values as SQLite takes them: JSON as text."""
    return tuple([_encode(value).decode() if type(value) is dict else value for value in values])


def column_names(table: sa.Table) -> str:
    """Return the names of all columns of a table."""
    return ", ".join(column.name for column in table.columns)


def sent_columns(table: sa.Table, *, without: str = "") -> str:
    """Return the columns with the types that a document has them in."""
    return ", ".join(
        f"{column.name} {'bigint' if column.name in TIME_COLUMNS else _POSTGRES_TYPES[type(column.type)]}"
        for column in table.columns
        if column.name != without
    )


def stored_columns(table: sa.Table, changed: Mapping[str, str] | None = None) -> str:
    """Return what is stored in each column: an expression of `changed`, else what the document has."""
    expressions = changed or {}
    return ", ".join(
        expressions.get(column.name) or (moment(column.name) if column.name in TIME_COLUMNS else column.name)
        for column in table.columns
    )


def moment(unix_us: str) -> str:
    """Return the time of a number of Unix microseconds."""
    return f"'epoch'::timestamptz + {unix_us} * interval '1 microsecond'"


def sqlite_insert(table: sa.Table, names: Sequence[str], on_conflict: str) -> str:
    """Return the statement that inserts values in the order of `names`."""
    values = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) {on_conflict}"  # noqa: S608 - our names
