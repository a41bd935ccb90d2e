"""How one resource of the catalog is stored, and how its columns are read; what cannot be read is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.base import StoredRow
from llm_gateway.infra.database.tables import StoredMicros, UnixMicros, read_time

MODEL_NAMES = "a list of model names"
CACHE_RULES = "an object of is_enabled, ttl and is_shared, or null"
LIMITS = f"an object of {', '.join(Limits.__struct_fields__)}, or null"


class Column:
    """A column whose stored values may be invalid: how they are read, and what replaces an invalid one."""

    __slots__ = ("_decoder", "numbers", "stand_in", "wanted")

    def __init__(self, holds: Any, stand_in: object, wanted: str, numbers: tuple[type, ...] = ()) -> None:  # noqa: ANN401 - any type
        """Read values of the type `holds`, JSON unless of `numbers`; `wanted` describes them to an admin."""
        self._decoder = msgspec.json.Decoder(holds)
        # Types of values that need no decoding; none for JSON.
        self.numbers = numbers
        self.stand_in = stand_in
        self.wanted = wanted

    def read(self, stored: object) -> Any:  # noqa: ANN401 - any value
        """Return the value of what is stored and not NULL; raise msgspec.DecodeError."""
        return self._decoder.decode(str(stored))


class TimeColumn(Column):
    """A column of times, which a load reads as Unix microseconds, and SQLite may hold as text."""

    __slots__ = ()

    def __init__(self, stand_in: int | None) -> None:
        super().__init__(int, stand_in, "a time", (int,))

    def read(self, stored: object) -> int:
        moment = read_time(str(stored))
        if moment is None:
            raise msgspec.DecodeError("no time")
        return moment


class Resource:
    """How one resource of the catalog is stored."""

    __slots__ = (
        "_checked",
        "columns",
        "flags",
        "name",
        "query",
        "row",
        "searched",
        "stored",
        "table",
        "texts",
    )

    def __init__(
        self,
        *,
        stored: type[StoredRow],
        table: sa.Table,
        row: type[msgspec.Struct],
        columns: Mapping[str, Column],
        searched: tuple[str, ...],
        name: str | None = None,
    ) -> None:
        """Describe the rows of `table`.

        `row` is what a load reads of each, `columns` are those that need decoding, `searched` are those that a search
        of a list looks in, and `name` is the column that finds a row beside its id.
        """
        self.searched = searched
        self.stored = stored
        self.table = table
        self.row = row
        self.columns = columns
        self.name: sa.Column[Any] | None = None if name is None else table.c[name]
        self.query = sa.select(*(as_stored(table.c[field]) for field in row.__struct_fields__)).order_by(
            table.c.id
        )
        # (field, column, types that need no decoding), ready for ten thousand rows at a time.
        self._checked = tuple((field, column, column.numbers) for field, column in columns.items())
        self.flags = tuple(column.name for column in table.c if isinstance(column.type, sa.Boolean))
        self.texts = tuple(
            column.name
            for column in table.c
            if isinstance(column.type, sa.Text) and column.name not in columns
        )

    def read(self, row: msgspec.Struct, label: str, faults: list[Fault]) -> dict[str, Any]:
        """Return a row's values; add a Fault about the row named `label` for each that cannot be read."""
        values = msgspec.structs.asdict(row)
        label = read_text(label)
        for field, column, numbers in self._checked:
            stored = values[field]
            if stored is None or type(stored) in numbers:
                continue
            try:
                values[field] = column.read(stored)
            except msgspec.DecodeError:
                message = f"{field} must be {column.wanted}"
                faults.append(Fault(self.stored.resource, label, field, message, values["id"]))
                values[field] = column.stand_in
        for field in self.flags:
            flag = values[field]
            if flag is None or type(flag) is bool:
                continue
            try:
                values[field] = read_flag(flag)
            except ValueError:
                message = f"{field} must be true or false"
                faults.append(Fault(self.stored.resource, label, field, message, values["id"]))
                values[field] = None if self.table.c[field].nullable else False
        for field in self.texts:
            text = values.get(field)
            if text is not None and type(text) is not str:
                message = f"{field} must be text"
                faults.append(Fault(self.stored.resource, label, field, message, values["id"]))
                values[field] = read_text(text)
        return values


def as_stored(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return `column` as it is read: JSON as text, so that a broken value is a fault and not an exception.

    Times are read as Unix microseconds.
    """
    if isinstance(column.type, UnixMicros):
        return StoredMicros(column)
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


# What PostgreSQL takes for a boolean, in any case and with blanks around it.
_TRUE = frozenset({"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})
_FALSE = frozenset({"f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"})


def read_flag(stored: object) -> bool:
    """Return what SQLite stores in a column of booleans, where any value may be; raise ValueError."""
    if isinstance(stored, int):
        return stored != 0
    word = stored.strip().lower() if isinstance(stored, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("no boolean")


def read_text(stored: object) -> str:
    """Return what is stored as text, whatever SQLite has there."""
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
