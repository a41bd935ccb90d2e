"""Imports rows of a file into the catalog in one transaction, and reads the rows that a file can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot, build_usable_snapshot
from llm_gateway.core.errors import Conflict, Unprocessable
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.gateway_writing import StoredRows
from llm_gateway.flow.config.files.kind_names import likely_kind
from llm_gateway.flow.config.rows.base import Row, RowUpdate, StoredRow, stored_type
from llm_gateway.flow.config.rows.change import Change, api_fields
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.config.rows.names import check_name
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice, price_doubts
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider, prepare_new_provider
from llm_gateway.flow.config.rows.store import CatalogEdit, CatalogStore
from llm_gateway.flow.config.rows.task_types import StoredTaskType

Existing = Literal["update", "skip"]
Action = Literal["created", "updated", "unchanged", "skipped"]

_PAGE: Final = 500
_MOST_READS: Final = 5
_UNSERVED: Final = (
    "no model of the file names it, so it is disabled: without a model_mapping it would serve every model"
)


class ImportedRow(msgspec.Struct, frozen=True):
    """What an import did to one row, or would do."""

    action: Action
    # What version notes call the row: "provider 'x'".
    label: str
    # The changed fields of an update, as the admin API calls them.
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} {self.label}" + (f": {', '.join(self.fields)}" if self.fields else "")


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, in the order of the file."""

    rows: tuple[ImportedRow, ...]
    # What an operator should know of rows that were imported all the same, as sentences.
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


class CatalogImporter:
    """Stores the rows of a file, all or none."""

    def __init__(self, kinds: Mapping[str, Kind], prices: PriceBook | None, *, actor: str) -> None:
        """`actor` is who version notes say that it was."""
        self._kinds = kinds
        self._prices = prices
        self._actor = actor

    async def apply(
        self, edit: CatalogEdit, contents: FileContents, existing: Existing = "update"
    ) -> ImportResult:
        """Store the rows of `contents` in an open transaction; raise Unprocessable, with a line for each fault.

        Of rows that exist the fields that the file states are changed, or nothing with `existing="skip"`.
        """
        before = await edit.catalog()
        prices = _PricesByKey(before)
        rows: list[ImportedRow] = []
        changes: list[Change] = []
        warnings: list[str] = []
        for update in contents.updates:
            found = await self._find(edit, update, prices)
            if found is None:
                made = await self._create(edit, update, warnings)
                changes.append(self._change(None, made, ()))
                rows.append(ImportedRow("created", made.label))
                continue
            if existing == "skip":
                rows.append(ImportedRow("skipped", found.label))
                continue
            changed = _differences(update, found)
            if not changed:
                rows.append(ImportedRow("unchanged", found.label))
                continue
            await edit.change(found.id, type(update)(**changed))
            after = await edit.find(type(found), found.id)
            fields = api_fields(changed)
            changes.append(self._change(found, after or found, fields))
            rows.append(ImportedRow("updated", found.label, fields))
        if changes:
            after_all = await edit.catalog()
            warnings += await self._check(contents, before, after_all, changes)
            await edit.note(after_all.version, *changes)
        return ImportResult(rows=tuple(rows), warnings=tuple(warnings))

    async def _create(self, edit: CatalogEdit, update: RowUpdate[Any], warnings: list[str]) -> StoredRow:
        prepared: Any = update
        if isinstance(prepared, ProviderUpdate):
            prepared = self._new_provider(prepared)
            if prepared.model_mapping is UNSET and prepared.is_enabled is UNSET:
                prepared = msgspec.structs.replace(prepared, is_enabled=False)
                warnings.append(f"provider {prepared.provider_key!r}: {_UNSERVED}")
        stored: type[StoredRow] = stored_type(prepared)
        row_id = await edit.add(prepared)
        made = await edit.find(stored, row_id)
        if made is None:
            message = "a row that was just stored is not there"
            raise RuntimeError(message)
        return made

    def _new_provider(self, update: ProviderUpdate) -> ProviderUpdate:
        base = update.api_base if isinstance(update.api_base, str) else None
        if update.provider_type is UNSET:
            kind = likely_kind(str(update.provider_key), base, self._kinds)
            update = msgspec.structs.replace(update, provider_type=kind)
        return prepare_new_provider(update, self._kinds)

    @staticmethod
    async def _find(edit: CatalogEdit, update: RowUpdate[Any], prices: _PricesByKey) -> StoredRow | None:
        stored: type[StoredRow] = stored_type(update)
        if isinstance(update, PriceUpdate):
            price_id = prices.take(update)
            return None if price_id is None else await edit.find(stored, price_id)
        name = update.provider_key if isinstance(update, ProviderUpdate) else getattr(update, "name", "")
        return await edit.find(stored, str(name))

    def _change(self, before: StoredRow | None, after: StoredRow, fields: tuple[str, ...]) -> Change:
        return Change(
            resource=after.resource, id=after.id, before=before, after=after, actor=self._actor, fields=fields
        )

    async def _check(
        self, contents: FileContents, before: Catalog, after: Catalog, changes: Sequence[Change]
    ) -> list[str]:
        """Return warnings; raise Unprocessable, so that nothing is stored, for faults that were not there before."""
        for change in changes:
            try:
                check_name(change, after)
            except (Conflict, Unprocessable) as error:
                raise Unprocessable(_placed(contents, change, error.message), param=error.param) from None
        known = (await self._snapshot(before)).faults
        snapshot = await self._snapshot(after)
        new = [fault for fault in snapshot.faults if fault not in known]
        faults = [fault for fault in new if not _is_missing_variable(fault, changes)]
        if faults:
            sentences = [_sentence(contents, fault) for fault in faults]
            raise Unprocessable("\n".join(sentences), param=faults[0].field)
        warnings = [
            f"{fault}; the provider gets no requests until the gateway is started with that variable"
            for fault in new
        ]
        return warnings + self._price_doubts(contents, snapshot)

    async def _snapshot(self, catalog: Catalog) -> Snapshot:
        return await asyncio.to_thread(build_usable_snapshot, catalog, self._kinds, None, self._prices)

    def _price_doubts(self, contents: FileContents, snapshot: Snapshot) -> list[str]:
        if self._prices is None:
            return []
        return [
            f"price {update.provider}/{update.upstream_model}: {doubt}"
            for update in contents.updates
            if isinstance(update, PriceUpdate) and isinstance(update.prices, dict)
            for _, doubt in price_doubts(
                update.prices, str(update.provider), str(update.upstream_model), snapshot, self._prices
            )
        ]


class _PricesByKey:
    """Finds the price that a file means: the first of the same model and times that it has not meant already."""

    def __init__(self, catalog: Catalog) -> None:
        self._ids: dict[tuple[object, ...], list[int]] = {}
        for price in sorted(catalog.prices, key=lambda one: one.id):
            key = (price.provider, price.upstream_model, price.valid_from, price.valid_until)
            self._ids.setdefault(key, []).append(price.id)

    def take(self, update: PriceUpdate) -> int | None:
        ids = self._ids.get(
            (update.provider, update.upstream_model, update.valid_from, update.valid_until), []
        )
        return ids.pop(0) if ids else None


def _differences(update: RowUpdate[Any], before: StoredRow) -> dict[str, Any]:
    """Return what is set in `update` and differs from the row; a key that is no reference always does."""
    found: dict[str, Any] = {}
    for name, value in update.given().items():
        known = getattr(before, "api_key" if name == "secret" else name, UNSET)
        plain = value.reveal() if isinstance(value, Secret) and value.reveal().startswith("env:") else value
        if plain != known:
            found[name] = value
    return found


def _is_missing_variable(fault: Fault, changes: Sequence[Change]) -> bool:
    """Tell whether a provider only waits for the variable that holds its key."""
    if (fault.resource, fault.field) != ("provider", "api_key"):
        return False
    row = next(
        (change.after for change in changes if (change.resource, change.id) == ("provider", fault.id)), None
    )
    return isinstance(row, StoredProvider) and str(row.api_key).startswith("env:")


def _sentence(contents: FileContents, fault: Fault) -> str:
    place = contents.place(fault.resource, fault.row, fault.field)
    message = fault.message.replace("api_base", "base_url") if contents.format == "gateway" else fault.message
    return f"{place}: {message}" if place is not None else str(fault)


def _placed(contents: FileContents, change: Change, message: str) -> str:
    name = "" if change.after is None else change.after.name_or_key
    place = contents.place(change.resource, name, "")
    return message if place is None else f"{place}: {message}"


async def stored_rows(store: CatalogStore) -> StoredRows:
    """Return the rows that a file can hold, all of one version of the catalog; raise StoreUnavailable, Conflict."""
    for _ in range(_MOST_READS):
        versions: set[int] = set()
        rows = StoredRows(
            providers=await _all(store, StoredProvider, versions),
            models=await _all(store, StoredModel, versions),
            prices=await _all(store, StoredPrice, versions),
            task_types=await _all(store, StoredTaskType, versions),
        )
        if len(versions) == 1:
            return rows
    raise Conflict("The catalog changes all the time; try again")


async def _all(store: CatalogStore, stored: type[Row], versions: set[int]) -> tuple[Row, ...]:
    found: list[Row] = []
    while True:
        page = await store.list(stored, found[-1].id if found else 0, _PAGE)
        versions.add(page.version)
        found += page.value
        if len(page.value) < _PAGE:
            return tuple(found)
