"""Edits the catalog: each edit is validated as a whole before it is stored, and in force when it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import CatalogInvalid, Snapshot, build_snapshot
from llm_gateway.core.errors import NotFound, PreconditionFailed, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.config.rows.base import Row, RowUpdate, StoredRow, stored_type
from llm_gateway.flow.config.rows.change import Change, api_fields
from llm_gateway.flow.config.rows.credentials import (
    CredentialUpdate,
    StoredCredential,
    generate_key,
    hash_key,
    without_generated_prefix,
)
from llm_gateway.flow.config.rows.providers import (
    ProviderUpdate,
    StoredProvider,
    keep_masked_secret,
    prepare_new_provider,
)
from llm_gateway.flow.config.rows.store import CatalogEdit, CatalogStore
from llm_gateway.flow.ports.catalog import KeyHasher

Written = TypeVar("Written", bound=StoredRow)

_ACTOR = "admin"


class EditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an edit is made."""

    # Validate everything and store nothing.
    dry_run: bool = False
    # Stored versions that the edit may be based on; None = any.
    if_match: frozenset[int] | None = None


STORE = EditOptions()


class Edited(msgspec.Struct, Generic[Written], frozen=True, kw_only=True):
    """The result of an edit."""

    # The row as it is now, as it would be (dry run), or as it was (deleted).
    row: Written
    # The stored version that holds the row; of a dry run, the version that it was checked against.
    stored_version: int
    # In force on this worker when the edit was answered.
    config_version: int
    dry_run: bool = False
    # The key that the gateway made, shown this once; None in a dry run.
    generated_key: Secret | None = None
    # What the edit leads to; None when it changed nothing, or the catalog is still rejected.
    snapshot: Snapshot | None = None
    # Process ids of workers of this machine that do not have it yet.
    stale_workers: tuple[int, ...] = ()
    # Why the stored catalog is still rejected: older faults, some of which this edit removed.
    faults: tuple[Fault, ...] = ()


class _Judged(msgspec.Struct, frozen=True):
    """The catalog an edit leads to."""

    catalog: Catalog
    # None = it cannot be served, because of older faults.
    snapshot: Snapshot | None
    faults: tuple[Fault, ...] = ()


class CatalogEditor:
    """Edits the catalog for an admin."""

    def __init__(
        self, *, store: CatalogStore, hasher: KeyHasher, reloader: Reloader, kinds: Mapping[str, Kind]
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._reloader = reloader
        self._kinds = kinds

    async def create(self, update: RowUpdate[Row], options: EditOptions = STORE) -> Edited[Row]:
        """Store a row; raise Conflict on a taken name or key, Unprocessable, PreconditionFailed.

        A credential without a key gets a generated one.
        """
        prepared: Any = update
        generated: Secret | None = None
        if isinstance(prepared, ProviderUpdate):
            prepared = prepare_new_provider(prepared, self._kinds)
        elif isinstance(prepared, CredentialUpdate):
            if not isinstance(prepared.key, Secret):
                generated = generate_key()
                prepared = msgspec.structs.replace(prepared, key=generated)
            prepared = hash_key(prepared, self._hasher)
        stored = stored_type(update)

        async def change(edit: CatalogEdit) -> tuple[Row, Change]:
            row_id = await edit.add(prepared)
            row = _found(await edit.find(stored, row_id), stored, row_id)
            return row, _change(row, None, row)

        edited = await self._edit(change, options)
        return edited if generated is None else _with_generated_key(edited, generated)

    async def update(
        self, ref: int | str, update: RowUpdate[Row], options: EditOptions = STORE
    ) -> Edited[Row]:
        """Change what is set in `update`; raise NotFound, Conflict, Unprocessable, PreconditionFailed."""
        stored = stored_type(update)

        async def change(edit: CatalogEdit) -> tuple[Row, Change | None]:
            before = _found(await edit.find(stored, ref), stored, ref)
            prepared = self._prepared(update, before)
            changed = _changed(prepared, before)
            if not changed:
                return before, None
            await edit.change(before.id, type(prepared)(**changed))
            after = _found(await edit.find(stored, before.id), stored, ref)
            return after, _change(after, before, after, api_fields(changed))

        return await self._edit(change, options)

    async def delete(self, stored: type[Row], ref: int | str, options: EditOptions = STORE) -> Edited[Row]:
        """Delete a row and return what it was; raise NotFound, Unprocessable, PreconditionFailed."""

        async def change(edit: CatalogEdit) -> tuple[Row, Change]:
            row = _found(await edit.find(stored, ref), stored, ref)
            await edit.remove(stored, row.id)
            return row, _change(row, row, None)

        return await self._edit(change, options)

    async def rotate_credential(
        self, credential_id: int, options: EditOptions = STORE
    ) -> Edited[StoredCredential]:
        """Replace the credential's key by a generated one; raise NotFound, PreconditionFailed."""
        generated = generate_key()
        edited = await self.update(credential_id, CredentialUpdate(key=generated), options)
        return _with_generated_key(edited, generated)

    def _prepared(self, update: RowUpdate[Row], before: Row) -> RowUpdate[Row]:
        prepared: Any = update
        if isinstance(prepared, ProviderUpdate) and isinstance(before, StoredProvider):
            prepared = keep_masked_secret(prepared, before)
        elif isinstance(prepared, CredentialUpdate):
            prepared = hash_key(prepared, self._hasher)
        updated: RowUpdate[Row] = prepared
        return updated

    async def _edit(
        self,
        change: Callable[[CatalogEdit], Awaitable[tuple[Row, Change | None]]],
        options: EditOptions,
    ) -> Edited[Row]:
        """Run `change`, which returns the row and the change (None when nothing changed), and have it served."""

        async def judged_change(edit: CatalogEdit) -> tuple[Row, int, _Judged | None]:
            version = await edit.version()
            _check_precondition(options.if_match, version)
            row, changed = await change(edit)
            if changed is None:
                return row, version, None
            judged = await self._judge(await edit.catalog())
            if options.dry_run:
                return row, version, judged
            await edit.note(judged.catalog.version, changed)
            return row, judged.catalog.version, judged

        row, version, judged = await self._store.edit(judged_change, dry_run=options.dry_run)
        edited = Edited(
            row=row,
            stored_version=version,
            config_version=self._reloader.status.version or 0,
            dry_run=options.dry_run,
            snapshot=judged.snapshot if judged is not None else None,
            faults=judged.faults if judged is not None else (),
        )
        return edited if options.dry_run else await self._serve(edited, judged)

    async def _serve(self, edited: Edited[Row], judged: _Judged | None) -> Edited[Row]:
        if judged is not None and judged.snapshot is None:
            # Stored, and still rejected: let the status say what is left to repair.
            in_force = (await self._reloader.reload()).version or 0
            return msgspec.structs.replace(edited, config_version=in_force)
        if judged is not None and judged.snapshot is not None:
            await self._reloader.adopt(judged.catalog, judged.snapshot)
        in_force = self._reloader.status.version or 0
        stale_workers = await self._reloader.await_everyone(in_force)
        return msgspec.structs.replace(edited, config_version=in_force, stale_workers=stale_workers)

    async def _judge(self, catalog: Catalog) -> _Judged:
        """Build what the edit leads to; raise Unprocessable, so that nothing is stored, when it has a fault.

        One exception: while the stored catalog is rejected already (someone broke rows by SQL, a variable is
        missing), an edit that removes faults and adds none is let through. Otherwise such a catalog could not be
        repaired one row at a time.
        """
        try:
            return _Judged(catalog, await asyncio.to_thread(build_snapshot, catalog, self._kinds))
        except CatalogInvalid as invalid:
            rejected = self._reloader.status.refused
            if rejected is not None and set(invalid.faults) < set(rejected.faults):
                return _Judged(catalog, None, invalid.faults)
            new = [fault for fault in invalid.faults if rejected is None or fault not in rejected.faults]
            raise _unprocessable(tuple(new) or invalid.faults) from None


def _check_precondition(if_match: frozenset[int] | None, version: int) -> None:
    if if_match is None or version in if_match:
        return
    error = PreconditionFailed(
        f"The configuration is at version {version} now: read what you want to change again, and send"
        f' If-Match: "{version}"',
        param="If-Match",
    )
    error.headers = ((b"etag", b'"%d"' % version),)
    raise error


def _unprocessable(faults: tuple[Fault, ...]) -> Unprocessable:
    return Unprocessable("; ".join(str(fault) for fault in faults), param=faults[0].field)


def _change(
    row: StoredRow, before: StoredRow | None, after: StoredRow | None, fields: tuple[str, ...] = ()
) -> Change:
    return Change(resource=row.resource, id=row.id, before=before, after=after, actor=_ACTOR, fields=fields)


def _with_generated_key(edited: Edited[Row], key: Secret) -> Edited[Row]:
    if not edited.dry_run:
        return msgspec.structs.replace(edited, generated_key=key)
    row: Any = edited.row
    return msgspec.structs.replace(edited, row=without_generated_prefix(row))


def _found(row: Row | None, stored: type[Row], ref: int | str) -> Row:
    if row is None:
        raise NotFound(f"There is no {stored.resource} {ref!r}")
    return row


def _changed(update: RowUpdate[Row], before: Row) -> dict[str, Any]:
    """Return what is set in `update` and differs from the row; a new secret or key always does."""
    unknown = object()
    return {
        name: value
        for name, value in update.given().items()
        if value != getattr(before, "api_key" if name == "secret" else name, unknown)
    }
