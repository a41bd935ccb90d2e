"""Reads the catalog for an admin: pages of rows, single rows, their warnings, and a provider with its secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import UNSET

from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.flow.config.rows.base import Row, StoredRow
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.names import name_warning, shared_names
from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.flow.config.rows.store import CatalogStore, Versioned
from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.flow.config.warnings import budget_warnings, model_warnings, price_warnings, unserved
from llm_gateway.flow.paging import Page, cut_page, id_after
from llm_gateway.flow.ports.catalog import CatalogSource, Snapshots


class CatalogBrowser:
    """What an admin API and a console show of the catalog."""

    def __init__(
        self,
        *,
        store: CatalogStore,
        source: CatalogSource,
        snapshots: Snapshots,
        model_absences: Callable[[Snapshot, str], list[str]] = lambda _snapshot, _model: [],
    ) -> None:
        """`model_absences` returns a sentence for each provider that is known not to have a public model."""
        self._model_absences = model_absences
        self._store = store
        self._source = source
        self._snapshots = snapshots
        self._shared: tuple[Snapshot | None, frozenset[str]] = (None, frozenset())

    async def page(
        self, stored: type[Row], cursor: str | None, limit: int, search: str | None = None
    ) -> Versioned[Page[Row]]:
        """Return up to `limit` rows by id, after `cursor`; only those that hold `search`, unless it is blank.

        Raise Unprocessable for an invalid cursor or search.
        """
        rows = await self._store.list(stored, id_after(cursor), limit + 1, _searched(search))
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

    def faults(self, row: StoredRow) -> list[str]:
        """Return why `row` is not served as it is stored, according to the snapshot in force."""
        snapshot = self._snapshots.current
        if snapshot is None or not snapshot.faults:
            return []
        return [
            fault.message for fault in snapshot.faults if (fault.resource, fault.id) == (row.resource, row.id)
        ]

    def warnings(self, row: StoredRow, snapshot: Snapshot | None = None) -> list[str]:
        """Return a sentence for each value of `row` that has no effect in `snapshot`, by default the one in force.

        And for a name that a new row would not be given.
        """
        snapshot = snapshot or self._snapshots.current
        if snapshot is None:
            return []
        return name_warning(row, self._shared_names(snapshot)) + self._effects(row, snapshot)

    def _shared_names(self, snapshot: Snapshot) -> frozenset[str]:
        """Return the names that several credentials have; counted once for each snapshot."""
        known, names = self._shared
        if known is not snapshot:
            names = shared_names(snapshot.catalog.credentials)
            self._shared = snapshot, names
        return names

    def _effects(self, row: StoredRow, snapshot: Snapshot) -> list[str]:
        if isinstance(row, StoredModel):
            lists = {name: getattr(row, name) or () for name in _FALLBACKS}
            warnings = model_warnings(snapshot, row.name, row.weights or (), lists)
            return warnings + self._absences(snapshot, {"name": (row.name,), **lists})
        if isinstance(row, StoredTaskType):
            models = row.models or ()
            return unserved(snapshot, "models", models) + self._absences(snapshot, {"models": models})
        if isinstance(row, StoredBudget):
            return budget_warnings(snapshot, row.scope, row.subject, row.models or ())
        if isinstance(row, StoredPrice):
            prices = {} if row.prices is UNSET else row.prices
            return price_warnings(snapshot, row.provider, row.upstream_model, prices)
        return []

    def _absences(self, snapshot: Snapshot, models: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the absences of the models that each field names."""
        return [
            f"{field}: {sentence}"
            for field, names in models.items()
            for name in names
            for sentence in self._model_absences(snapshot, name)
        ]

    def unconfigured_models(self) -> list[str]:
        """Return the models that enabled providers name and that have no settings of their own."""
        snapshot = self._snapshots.current
        if snapshot is None:
            return []
        return [name for name in snapshot.explicit_models if name not in snapshot.models]


def _searched(search: str | None) -> str | None:
    text = (search or "").strip()
    if len(text) > LONGEST_SEARCH or not text.isprintable():
        message = f"search: must be at most {LONGEST_SEARCH} printable characters"
        raise Unprocessable(message, param="search")
    return text or None


# As long as a model's name, and far from the longest pattern that SQLite takes.
LONGEST_SEARCH = 256
_FALLBACKS = ("fallbacks", "context_fallbacks", "policy_fallbacks")
