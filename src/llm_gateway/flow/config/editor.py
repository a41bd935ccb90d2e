"""Changes the catalog: each edit is judged as a whole before it is stored, and in force when it is answered."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from llm_gateway.core.config.catalog import Catalog, Kind
from llm_gateway.core.config.snapshot import CatalogInvalid, Snapshot, build_snapshot
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.config.rows import (
    CatalogEdit,
    CatalogStore,
    CredentialEntry,
    CredentialFields,
    Fields,
    ModelFields,
    ProviderEntry,
    ProviderFields,
    Row,
    TaskTypeFields,
    entry_type,
)
from llm_gateway.flow.ports.catalog import KeyHasher

Written = TypeVar("Written")

_ADMIN = "admin"
# A fault reads "provider 'x': field ..."; the field is what the error's `param` names.
_FAULT = re.compile(r"""(?:provider|credential|model|task type) (?:'.*?'|".*?"): ([\w.]+)""")
_FIELDS = frozenset(
    name
    for fields in (ProviderFields, CredentialFields, ModelFields, TaskTypeFields)
    for name in fields.__struct_fields__
) | {"api_key"}
_FIELD_OF_WORD = {"environment": "api_key", "an": "api_key", "its": "provider_key"}
# What notes call the fields that have another name in the API; the prefix follows from the key.
_SHOWN_AS = {"secret": "api_key", "key_hash": "key", "key_prefix": ""}


class Edited(msgspec.Struct, Generic[Written], frozen=True, kw_only=True):
    """What an edit left behind."""

    # The row as it is now, or was when it was deleted.
    entry: Written
    # In force on this worker when the edit was answered.
    config_version: int
    # Process ids of workers of this machine that do not have it yet.
    stale_workers: tuple[int, ...] = ()
    # Why the stored catalog is still not served: older faults, of which this edit mended some.
    faults: tuple[str, ...] = ()


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential and, when the gateway made it, its key: shown this once."""

    entry: CredentialEntry
    key: Secret | None


class _Judged(msgspec.Struct, frozen=True):
    """The catalog an edit leads to."""

    catalog: Catalog
    # None = it cannot be served, for older faults.
    snapshot: Snapshot | None
    faults: tuple[str, ...] = ()


class CatalogEditor:
    """The admin API's way into the catalog."""

    def __init__(
        self, *, store: CatalogStore, hasher: KeyHasher, reloader: Reloader, kinds: Mapping[str, Kind]
    ) -> None:
        """Write to `store`, hash keys with `hasher`, judge by `kinds`, and have `reloader` serve the result."""
        self._store = store
        self._hasher = hasher
        self._reloader = reloader
        self._kinds = kinds

    # --- rows of any sort --------------------------------------------------------------------------

    async def create(self, fields: Fields[Row]) -> Edited[Row]:
        """Store a row; raise Conflict on a taken name, Unprocessable on bad values.

        Providers and credentials have ways of their own, below.
        """
        noun = entry_type(fields)

        async def change(edit: CatalogEdit) -> tuple[Row, str]:
            row_id = await edit.add(fields)
            entry = _found(await edit.find(noun, row_id), noun, row_id)
            return entry, f"created {entry.called}"

        return await self._edit(change)

    async def update(self, ref: int | str, fields: Fields[Row]) -> Edited[Row]:
        """Change what is set in `fields`; raise NotFound, Conflict, Unprocessable."""
        return await self._update(ref, fields, lambda given, _: given)

    async def delete(self, noun: type[Row], ref: int | str) -> Edited[Row]:
        """Delete a row and return what it was; raise NotFound."""

        async def change(edit: CatalogEdit) -> tuple[Row, str]:
            entry = _found(await edit.find(noun, ref), noun, ref)
            await edit.remove(noun, entry.id)
            return entry, f"deleted {entry.called}"

        return await self._edit(change)

    async def _update(
        self, ref: int | str, fields: Fields[Row], prepare: Callable[[Fields[Row], Row], Fields[Row]]
    ) -> Edited[Row]:
        noun = entry_type(fields)

        async def change(edit: CatalogEdit) -> tuple[Row, str]:
            before = _found(await edit.find(noun, ref), noun, ref)
            changes = _changes(prepare(fields, before), before)
            if not changes:
                return before, ""
            await edit.change(before.id, type(fields)(**changes))
            after = _found(await edit.find(noun, before.id), noun, ref)
            names = (_SHOWN_AS.get(name, name) for name in changes)
            return after, f"updated {before.called}: {', '.join(name for name in names if name)}"

        return await self._edit(change)

    # --- providers ---------------------------------------------------------------------------------

    async def create_provider(self, fields: ProviderFields) -> Edited[ProviderEntry]:
        """Store a provider; raise Conflict on a taken provider_key, Unprocessable on bad values."""
        _refuse_mask(fields)
        return await self.create(self._with_default_base(fields))

    async def update_provider(self, ref: int | str, fields: ProviderFields) -> Edited[ProviderEntry]:
        """Change what is set in `fields`; raise NotFound, Conflict, Unprocessable."""
        return await self._update(ref, fields, _without_masked_secret)

    # --- credentials -------------------------------------------------------------------------------

    async def create_credential(self, fields: CredentialFields, key: Secret | None) -> Edited[NewCredential]:
        """Store a credential with `key`, or a fresh one when None; raise Conflict on a taken key."""
        chosen = key or _fresh_key()
        made = await self.create(self._with_key(fields, chosen))
        return _with_entry(made, NewCredential(entry=made.entry, key=None if key else chosen))

    async def update_credential(
        self, credential_id: int, fields: CredentialFields, key: Secret | None = None
    ) -> Edited[CredentialEntry]:
        """Change what is set in `fields`, and the key when one is given; raise NotFound, Conflict."""
        return await self.update(credential_id, fields if key is None else self._with_key(fields, key))

    async def rotate_credential(self, credential_id: int) -> Edited[NewCredential]:
        """Give the credential a fresh key, which the old one stops working for; raise NotFound."""
        fresh = _fresh_key()

        async def change(edit: CatalogEdit) -> tuple[NewCredential, str]:
            _found(await edit.find(CredentialEntry, credential_id), CredentialEntry, credential_id)
            await edit.change(credential_id, self._with_key(CredentialFields(), fresh))
            entry = _found(await edit.find(CredentialEntry, credential_id), CredentialEntry, credential_id)
            return NewCredential(entry=entry, key=fresh), f"rotated the key of {entry.called}"

        return await self._edit(change)

    # --- one edit ----------------------------------------------------------------------------------

    async def _edit(self, change: Callable[[CatalogEdit], Awaitable[tuple[Written, str]]]) -> Edited[Written]:
        """Run `change`, which returns the row and what to note ("" = nothing changed), and have it served."""

        async def judged_change(edit: CatalogEdit) -> tuple[Written, _Judged | None]:
            written, action = await change(edit)
            if not action:
                return written, None
            judged = await self._judge(await edit.catalog())
            await edit.note(judged.catalog.version, _ADMIN, action)
            return written, judged

        written, judged = await self._store.edit(judged_change)
        if judged is not None and judged.snapshot is None:
            # Stored, and still refused: have the status say what is left to mend.
            in_force = (await self._reloader.reload()).version or 0
            return Edited(entry=written, config_version=in_force, faults=judged.faults)
        if judged is not None and judged.snapshot is not None:
            await self._reloader.adopt(judged.catalog, judged.snapshot)
        in_force = self._reloader.status.version or 0
        stale_workers = await self._reloader.await_everyone(in_force)
        return Edited(entry=written, config_version=in_force, stale_workers=stale_workers)

    async def _judge(self, catalog: Catalog) -> _Judged:
        """Build what the edit leads to; raise Unprocessable, so that nothing is stored, when it has a fault.

        One exception: while the stored catalog is refused already (somebody broke rows by SQL, a variable is
        missing), an edit that takes faults away and adds none is let through. Without it such a catalog could
        not be mended here one row at a time.
        """
        try:
            return _Judged(catalog, await asyncio.to_thread(build_snapshot, catalog, self._kinds))
        except CatalogInvalid as invalid:
            refused = self._reloader.status.refused
            if refused is not None and set(invalid.faults) < set(refused.faults):
                return _Judged(catalog, None, invalid.faults)
            new = [fault for fault in invalid.faults if refused is None or fault not in refused.faults]
            raise _unprocessable(tuple(new) or invalid.faults) from None

    def _with_default_base(self, fields: ProviderFields) -> ProviderFields:
        """Fill in the kind's own address; the rest of the fields has defaults in the store."""
        if fields.api_base is not UNSET:
            return fields
        kind = self._kinds.get(str(fields.provider_type))
        if kind is not None and kind.default_api_base is None:
            raise Unprocessable(
                "api_base is required: this provider_type has no address of its own", param="api_base"
            )
        # An unknown type is named by the judgement of the whole.
        return msgspec.structs.replace(fields, api_base=kind.default_api_base if kind else "")

    def _with_key(self, fields: CredentialFields, key: Secret) -> CredentialFields:
        text = key.reveal()
        return msgspec.structs.replace(fields, key_hash=self._hasher.hash(text), key_prefix=key_prefix(text))


def key_prefix(key: str) -> str:
    """Return what lists show of a client's key: at most 8 characters, and never more than a third of it."""
    return key[: min(8, len(key) // 3)]


def _fresh_key() -> Secret:
    # 32 random bytes are 43 URL-safe characters.
    return Secret("sk-" + secrets.token_urlsafe(32))


def _found(entry: Row | None, noun: type[Row], ref: int | str) -> Row:
    if entry is None:
        raise NotFound(f"There is no {noun.noun} {ref!r}")
    return entry


def _with_entry(edited: Edited[Any], entry: Written) -> Edited[Written]:
    return Edited(
        entry=entry,
        config_version=edited.config_version,
        stale_workers=edited.stale_workers,
        faults=edited.faults,
    )


def _unprocessable(faults: tuple[str, ...]) -> Unprocessable:
    match = _FAULT.match(faults[0])
    word = match.group(1) if match else ""
    field = _FIELD_OF_WORD.get(word, word)
    known = field.partition(".")[0] in _FIELDS
    return Unprocessable("; ".join(faults), param=field if known else None)


def _without_masked_secret(fields: Fields[ProviderEntry], before: ProviderEntry) -> Fields[ProviderEntry]:
    """Take a secret that came back as it was shown for what it means: keep the old one."""
    secret = getattr(fields, "secret", UNSET)
    if isinstance(secret, Secret) and secret.reveal() == before.api_key:
        return msgspec.structs.replace(fields, secret=UNSET)
    _refuse_mask(fields)
    return fields


def _refuse_mask(fields: Fields[ProviderEntry]) -> None:
    secret = getattr(fields, "secret", UNSET)
    if isinstance(secret, Secret) and secret.reveal().startswith("***"):
        raise Unprocessable(
            "api_key is a masked value, as lists show it: send the real one, or leave it out to keep the old one",
            param="api_key",
        )


def _changes(fields: Fields[Row], before: Row) -> dict[str, Any]:
    """Return what is set in `fields` and differs from the row; a new secret or key always does."""
    unknown = object()
    given = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {
        name: value
        for name, value in given.items()
        if value is not UNSET and value != getattr(before, "api_key" if name == "secret" else name, unknown)
    }
