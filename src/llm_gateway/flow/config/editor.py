"""Edits the catalog: each edit is validated as a whole before it is stored, and in force when it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot, build_usable_snapshot
from llm_gateway.core.errors import NotFound, PreconditionFailed, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.config.rows.base import Row, RowUpdate, StoredRow, stored_type
from llm_gateway.flow.config.rows.budgets import COUNTS_ANEW, BudgetUpdate, StoredBudget, counting_from
from llm_gateway.flow.config.rows.change import Change, api_fields
from llm_gateway.flow.config.rows.credentials import (
    DEFAULT_OVERLAP,
    CredentialUpdate,
    StoredCredential,
    check_not_revoked,
    generate_key,
    hash_key,
    revocation,
    rotation,
    without_generated_prefix,
)
from llm_gateway.flow.config.rows.names import check_name
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice, check_magnitude
from llm_gateway.flow.config.rows.providers import (
    ProviderUpdate,
    StoredProvider,
    keep_masked_secret,
    prepare_new_provider,
)
from llm_gateway.flow.config.rows.references import check_keys, check_references
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
    # What the edit leads to; None when it changed nothing.
    snapshot: Snapshot | None = None
    # Process ids of workers of this machine that do not have it yet.
    stale_workers: tuple[int, ...] = ()
    # Faults of rows that were faulty before, this one or others.
    faults: tuple[Fault, ...] = ()
    # What an admin should know about the edit, as sentences.
    warnings: tuple[str, ...] = ()


class _Judged(msgspec.Struct, frozen=True):
    """The catalog an edit leads to, and what is served of it."""

    catalog: Catalog
    snapshot: Snapshot


class CatalogEditor:
    """Edits the catalog for an admin."""

    def __init__(
        self,
        *,
        store: CatalogStore,
        hasher: KeyHasher,
        reloader: Reloader,
        kinds: Mapping[str, Kind],
        operator_keys: frozenset[bytes] = frozenset(),
    ) -> None:
        """`operator_keys` are hashes of keys that no client may have: the admin key and others of the operator."""
        self._store = store
        self._hasher = hasher
        self._reloader = reloader
        self._kinds = kinds
        self._operator_keys = operator_keys

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
            prepared = self._hashed(prepared)
        elif isinstance(prepared, PriceUpdate):
            prepared = check_magnitude(prepared, None, self._reloader.snapshot, self._reloader.prices)
        stored = stored_type(update)

        async def change(edit: CatalogEdit) -> tuple[Row, Change]:
            new: Any = prepared
            if isinstance(new, BudgetUpdate):
                new = counting_from(new, None, edit.now())
            row_id = await edit.add(new)
            row = _found(await edit.find(stored, row_id), stored, row_id)
            return row, _change(row, None, row)

        edited = await self._edit(change, options)
        return edited if generated is None else _with_generated_key(edited, generated)

    async def update(
        self, ref: int | str, update: RowUpdate[Row], options: EditOptions = STORE
    ) -> Edited[Row]:
        """Change what is set in `update`; raise NotFound, Conflict, Unprocessable, PreconditionFailed."""

        async def prepare(before: Row, edit: CatalogEdit) -> RowUpdate[Row]:
            return self._prepared(update, before, edit.now())

        return await self._update(stored_type(update), ref, prepare, options)

    async def _update(
        self,
        stored: type[Row],
        ref: int | str,
        prepare: Callable[[Row, CatalogEdit], Awaitable[RowUpdate[Row]]],
        options: EditOptions,
        *,
        verb: str | None = None,
    ) -> Edited[Row]:
        """Change what is set in the update that `prepare` returns; notes call it an update, or by its `verb`."""

        async def change(edit: CatalogEdit) -> tuple[Row, Change | None]:
            before = _found(await edit.find(stored, ref), stored, ref)
            prepared = await prepare(before, edit)
            changed = _changed(prepared, before)
            if not changed:
                return before, None
            await edit.change(before.id, type(prepared)(**changed))
            after = _found(await edit.find(stored, before.id), stored, ref)
            warnings = (COUNTS_ANEW,) if "counts_from" in changed and verb is None else ()
            return after, _change(after, before, after, api_fields(changed), verb=verb, warnings=warnings)

        return await self._edit(change, options)

    async def delete(self, stored: type[Row], ref: int | str, options: EditOptions = STORE) -> Edited[Row]:
        """Delete a row and return what it was; raise NotFound, Unprocessable, PreconditionFailed."""

        async def change(edit: CatalogEdit) -> tuple[Row, Change]:
            row = _found(await edit.find(stored, ref), stored, ref)
            await edit.remove(stored, row.id)
            return row, _change(row, row, None)

        return await self._edit(change, options)

    async def rotate_credential(
        self,
        credential_id: int,
        options: EditOptions = STORE,
        *,
        key: Secret | None = None,
        overlap: int = DEFAULT_OVERLAP,
    ) -> Edited[StoredCredential]:
        """Replace the credential's key by `key`, or by a generated one; the old one is valid for `overlap` seconds.

        Raise NotFound, Conflict for a revoked credential or a taken key, Unprocessable, PreconditionFailed.
        """
        new = key or generate_key()

        async def prepare(before: StoredCredential, edit: CatalogEdit) -> RowUpdate[StoredCredential]:
            current = next(one.key_hash for one in (await edit.catalog()).credentials if one.id == before.id)
            update = rotation(new, current, overlap, edit.now())
            check_not_revoked(update, before)
            hashed = self._hashed(update)
            if hashed.key_hash == current:
                raise Unprocessable("key: is the credential's key already; send another", param="key")
            return hashed

        edited = await self._update(StoredCredential, credential_id, prepare, options, verb="rotated")
        return edited if key is not None else _with_generated_key(edited, new)

    async def set_enabled(
        self, credential_id: int, options: EditOptions = STORE, *, is_enabled: bool
    ) -> Edited[StoredCredential]:
        """Enable or disable a credential; raise NotFound, Conflict for a revoked one, PreconditionFailed."""

        async def prepare(before: StoredCredential, edit: CatalogEdit) -> RowUpdate[StoredCredential]:
            return self._prepared(CredentialUpdate(is_enabled=is_enabled), before, edit.now())

        verb = "enabled" if is_enabled else "disabled"
        return await self._update(StoredCredential, credential_id, prepare, options, verb=verb)

    async def revoke_credential(
        self, credential_id: int, options: EditOptions = STORE
    ) -> Edited[StoredCredential]:
        """Destroy the keys of a credential for good; raise NotFound, PreconditionFailed."""

        async def prepare(before: StoredCredential, edit: CatalogEdit) -> RowUpdate[StoredCredential]:
            return CredentialUpdate() if before.revoked_at is not None else revocation(edit.now())

        return await self._update(StoredCredential, credential_id, prepare, options, verb="revoked")

    async def reset_budget(self, ref: int | str, options: EditOptions = STORE) -> Edited[StoredBudget]:
        """Let a budget count from now on; raise NotFound, PreconditionFailed."""

        async def prepare(_before: StoredBudget, edit: CatalogEdit) -> RowUpdate[StoredBudget]:
            return BudgetUpdate(counts_from=edit.now())

        return await self._update(StoredBudget, ref, prepare, options, verb="reset")

    def _prepared(self, update: RowUpdate[Row], before: Row, now_us: int) -> RowUpdate[Row]:
        prepared: Any = update
        if isinstance(prepared, ProviderUpdate) and isinstance(before, StoredProvider):
            prepared = keep_masked_secret(prepared, before)
        elif isinstance(prepared, CredentialUpdate) and isinstance(before, StoredCredential):
            check_not_revoked(prepared, before)
            prepared = self._hashed(prepared)
        elif isinstance(prepared, BudgetUpdate) and isinstance(before, StoredBudget):
            prepared = counting_from(prepared, before, now_us)
        elif isinstance(prepared, PriceUpdate) and isinstance(before, StoredPrice):
            prepared = check_magnitude(prepared, before, self._reloader.snapshot, self._reloader.prices)
        updated: RowUpdate[Row] = prepared
        return updated

    def _hashed(self, update: CredentialUpdate) -> CredentialUpdate:
        hashed = hash_key(update, self._hasher)
        if isinstance(hashed.key_hash, bytes) and hashed.key_hash in self._operator_keys:
            message = (
                "key: is a key of the gateway's operator (ADMIN_KEY, OPS_TOKEN, SECRET_KEY); choose another"
            )
            raise Unprocessable(message, param="key")
        return hashed

    async def _edit(
        self,
        change: Callable[[CatalogEdit], Awaitable[tuple[Row, Change | None]]],
        options: EditOptions,
    ) -> Edited[Row]:
        """Run `change`, which returns the row and the change (None when nothing changed), and have it served."""

        async def judged_change(edit: CatalogEdit) -> tuple[Row, int, _Judged | None, tuple[str, ...]]:
            version = await edit.version()
            self._reloader.check_version(version)
            _check_precondition(options.if_match, version)
            row, changed = await change(edit)
            if changed is None:
                return row, version, None, ()
            catalog = await edit.catalog()
            check_name(changed, catalog)
            check_keys(changed, catalog)
            check_references(changed, catalog)
            judged = await self._judge(catalog, row)
            if options.dry_run:
                return row, version, judged, changed.warnings
            await edit.note(judged.catalog.version, changed)
            return row, judged.catalog.version, judged, changed.warnings

        row, version, judged, warnings = await self._store.edit(judged_change, dry_run=options.dry_run)
        edited = Edited(
            row=row,
            stored_version=version,
            config_version=self._reloader.status.version or 0,
            dry_run=options.dry_run,
            snapshot=judged.snapshot if judged is not None else None,
            faults=judged.snapshot.faults if judged is not None else (),
            warnings=warnings,
        )
        return edited if options.dry_run else await self._serve(edited, judged)

    async def _serve(self, edited: Edited[Row], judged: _Judged | None) -> Edited[Row]:
        if judged is not None:
            await self._reloader.adopt(judged.catalog, judged.snapshot)
        in_force = self._reloader.status.version or 0
        stale_workers = await self._reloader.await_everyone(in_force)
        return msgspec.structs.replace(edited, config_version=in_force, stale_workers=stale_workers)

    async def _judge(self, catalog: Catalog, row: StoredRow) -> _Judged:
        """Build what the edit of `row` leads to; raise Unprocessable, so that nothing is stored, when it has a fault.

        Faults that are older than the edit do not matter (someone broke rows by SQL, a variable is missing):
        otherwise no row could be repaired, and no key be disabled, before all of them are gone.
        """
        before = self._reloader.snapshot
        snapshot = await asyncio.to_thread(
            build_usable_snapshot, catalog, self._kinds, before, self._reloader.prices
        )
        known = before.faults if before is not None else ()
        new = tuple(
            fault
            for fault in snapshot.faults
            if (fault.resource, fault.id) == (row.resource, row.id) and fault not in known
        )
        if new:
            raise _unprocessable(new)
        return _Judged(catalog, snapshot)


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
    row: StoredRow,
    before: StoredRow | None,
    after: StoredRow | None,
    fields: tuple[str, ...] = (),
    *,
    verb: str | None = None,
    warnings: tuple[str, ...] = (),
) -> Change:
    return Change(
        resource=row.resource,
        id=row.id,
        before=before,
        after=after,
        actor=_ACTOR,
        fields=fields,
        verb=verb,
        warnings=warnings,
    )


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
