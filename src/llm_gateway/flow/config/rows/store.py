"""Ports to the stored catalog: read its rows, change them in one transaction, keep the last good one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.flow.config.rows.base import Row, RowUpdate, StoredRow
from llm_gateway.flow.config.rows.change import Change

Answer = TypeVar("Answer")
Value = TypeVar("Value")


class Versioned(msgspec.Struct, Generic[Value], frozen=True):
    """What was read, and the catalog's version in the same transaction."""

    value: Value
    version: int


class CatalogEdit(Protocol):
    """One open transaction: its writes are committed when the edit function returns, all or nothing.

    The type of a row, or of an update, says which resource is meant.
    """

    async def version(self) -> int:
        """Return the catalog's version in this transaction; no other editor can raise it before the end."""

    def now(self) -> int:
        """Return the time of this edit, which rows are stamped with, in Unix microseconds."""

    async def find(self, stored: type[Row], ref: int | str) -> Row | None:
        """Return the row with this id (int), or with this name or provider_key (str); credentials go by id."""

    async def add(self, update: RowUpdate[Any]) -> int:
        """Store a row and return its id, never given before; raise Conflict on a taken name or key."""

    async def change(self, row_id: int, update: RowUpdate[Any]) -> None:
        """Store what is set in `update`; raise Conflict on a taken name or key."""

    async def remove(self, stored: type[StoredRow], row_id: int) -> None:
        """Delete the row."""

    async def catalog(self) -> Catalog:
        """Return the whole catalog as it would be after this transaction, with the version it would have."""

    async def note(self, version: int, *changes: Change) -> None:
        """Record who did what; a transaction is noted once, with all of its changes."""

    async def first_fill(self) -> str | None:
        """Return what this database's catalog was first filled from, None if nothing has filled it yet."""

    async def had_providers(self) -> bool:
        """Tell whether there was ever a provider that an editor knew of, even if it is deleted by now."""

    async def mark_filled(self, source: str) -> None:
        """Record what the catalog was first filled from, unless that is known already."""


class CatalogStore(Protocol):
    """The catalog's rows: one writer at a time, and reads for the admin API. All may raise StoreUnavailable."""

    async def edit(
        self, change: Callable[[CatalogEdit], Awaitable[Answer]], *, dry_run: bool = False
    ) -> Answer:
        """Run `change` in one transaction and commit it; store nothing when it raises, or in a dry run.

        Editors wait for one another, across all machines.
        """

    async def list(
        self, stored: type[Row], after: int, limit: int, search: str | None = None
    ) -> Versioned[list[Row]]:
        """Return up to `limit` rows with ids above `after`, by id.

        With `search`, only those that hold it, in either case, in what an admin knows them by.
        """

    async def find(self, stored: type[Row], ref: int | str) -> Versioned[Row | None]:
        """Return the row with this id (int), or with this name or provider_key (str); credentials go by id."""


class LastGoodStore(Protocol):
    """Keeps the last good catalog where it can be read while the database cannot."""

    def save(self, catalog: Catalog, faults: Sequence[Fault] = ()) -> None:
        """Save `catalog`, which came from a CatalogSource or a CatalogEdit. Returns at once, never raises.

        Of rows with `faults`, other than credentials, what was saved before stays.
        """

    async def load(self) -> Catalog | None:
        """Return what was saved last, or None when there is nothing or it cannot be read."""
