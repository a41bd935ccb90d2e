"""Reads the catalog for an admin: pages of rows, single rows, their warnings, and a provider with its secret."""

from __future__ import annotations

from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.config.warnings import model_warnings, unserved
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.flow.config.rows.base import Row, StoredRow
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.store import CatalogStore, Versioned
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.flow.paging import Page, cut_page, id_after
from llm_gateway.flow.ports.catalog import CatalogSource, Snapshots


class CatalogBrowser:
    """What an admin API and a console show of the catalog."""

    def __init__(self, *, store: CatalogStore, source: CatalogSource, snapshots: Snapshots) -> None:
        self._store = store
        self._source = source
        self._snapshots = snapshots

    async def page(self, stored: type[Row], cursor: str | None, limit: int) -> Versioned[Page[Row]]:
        """Return up to `limit` rows by id, after `cursor`; raise Unprocessable for an invalid cursor."""
        rows = await self._store.list(stored, id_after(cursor), limit + 1)
        return Versioned(cut_page(rows.value, limit, lambda row: str(row.id)), rows.version)

    async def get(self, stored: type[Row], ref: int | str) -> Versioned[Row]:
        """Return the row with this id (int), or with this name or provider_key (str); raise NotFound."""
        found = await self._store.find(stored, ref)
        if found.value is None:
            raise NotFound(f"There is no {stored.resource} {ref!r}")
        return Versioned(found.value, found.version)

    async def open_provider(self, ref: int | str) -> Provider:
        """Return a stored provider, enabled or not, with its secret; raise NotFound, Unprocessable."""
        row = (await self.get(StoredProvider, ref)).value
        catalog = await self._source.load()
        found = next((provider for provider in catalog.providers if provider.id == row.id), None)
        if found is None:
            raise NotFound(f"There is no provider {ref!r}")
        problems = [
            fault.message
            for fault in catalog.faults
            if (fault.resource, fault.row) == (StoredProvider.resource, found.provider_key)
        ]
        if row.api_key is not None and found.secret is None and not problems:
            problems.append(
                "api_key is not available: its environment variable is not set, or it does not open"
            )
        if problems:
            raise Unprocessable(f"This provider cannot be used: {'; '.join(problems)}", param="api_key")
        return found

    def warnings(self, row: StoredRow, snapshot: Snapshot | None = None) -> list[str]:
        """Return a sentence for each value of `row` that has no effect in `snapshot`, by default the one in force."""
        snapshot = snapshot or self._snapshots.current
        if snapshot is None:
            return []
        if isinstance(row, StoredModel):
            lists = {name: getattr(row, name) or () for name in _FALLBACKS}
            return model_warnings(snapshot, row.name, row.weights or (), lists)
        if isinstance(row, StoredTaskType):
            return unserved(snapshot, "models", row.models or ())
        return []

    def unconfigured_models(self) -> list[str]:
        """Return the models that enabled providers name and that have no settings of their own."""
        snapshot = self._snapshots.current
        if snapshot is None:
            return []
        return [name for name in snapshot.explicit_models if name not in snapshot.models]


_FALLBACKS = ("fallbacks", "context_fallbacks", "policy_fallbacks")
