"""What stored rows and updates of every resource have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, cast

import msgspec


class StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored row as an admin sees it. Times are Unix microseconds.

    A stored value that cannot be read (someone broke it with SQL) is UNSET: every value differs from it, so that
    setting one repairs the row.
    """

    # What such a row is called in messages.
    resource: ClassVar[str]

    id: int
    created_at: int | msgspec.UnsetType
    updated_at: int | msgspec.UnsetType

    @property
    def name_or_key(self) -> str:
        """Return what a Fault calls this row."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Return what a version note calls this row."""
        return f"{self.resource} {self.name_or_key!r}"


Row = TypeVar("Row", bound=StoredRow)


class RowUpdate(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """What an admin sets on a row; a field that is UNSET stays as it is, or gets its default."""

    # The row that this updates.
    stored: ClassVar[type[StoredRow]]

    def given(self) -> dict[str, Any]:
        """Return the fields that are set."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}


def stored_type(update: RowUpdate[Row]) -> type[Row]:
    """Return the type of the row that `update` is for."""
    return cast("type[Row]", update.stored)
