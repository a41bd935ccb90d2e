"""How one resource of the catalog is stored, and how its columns are read; what cannot be read is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.faults import Fault
from llm_gateway.flow.config.rows.base import StoredRow

MODEL_NAMES = "a list of model names"
CACHE_RULES = "an object of is_enabled, ttl and is_shared, or null"


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


class Resource:
    """How one resource of the catalog is stored."""

    __slots__ = ("_flags", "columns", "name", "query", "row", "stored", "table")

    def __init__(
        self,
        *,
        stored: type[StoredRow],
        table: sa.Table,
        row: type[msgspec.Struct],
        columns: Mapping[str, Column],
        name: str | None = None,
    ) -> None:
        """Describe the rows of `table`.

        `row` is what a load reads of each, `columns` are those that need decoding, and `name` is the column that
        finds a row beside its id.
        """
        self.stored = stored
        self.table = table
        self.row = row
        self.columns = columns
        self.name: sa.Column[Any] | None = None if name is None else table.c[name]
        self.query = sa.select(*(as_stored(table.c[field]) for field in row.__struct_fields__)).order_by(
            table.c.id
        )
        self._flags = tuple(
            field for field in row.__struct_fields__ if isinstance(table.c[field].type, sa.Boolean)
        )

    def read(self, row: msgspec.Struct, label: str, faults: list[Fault]) -> dict[str, Any]:
        """Return a row's values; add a Fault about the row named `label` for each that cannot be read."""
        values = msgspec.structs.asdict(row)
        for field, column in self.columns.items():
            stored = values[field]
            # Most need no decoding, and ten thousand rows are read at a time.
            if stored is None or type(stored) in column.numbers:
                continue
            try:
                values[field] = column.read(stored)
            except msgspec.DecodeError:
                faults.append(Fault(self.stored.resource, label, field, f"{field} must be {column.wanted}"))
                values[field] = column.stand_in
        for field in self._flags:
            # SQLite has integers.
            if values[field] is not None:
                values[field] = bool(values[field])
        return values


def as_stored(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return `column` as it is read: JSON as text, so that a broken value is a fault and not an exception."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
