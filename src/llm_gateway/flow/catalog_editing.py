"""Changes the catalog: each edit is judged as a whole before it is stored, and in force when it is answered."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from llm_gateway.core.catalog import Catalog, Kind
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.core.snapshot import CatalogInvalid, Snapshot, build_snapshot
from llm_gateway.flow.ports import KeyHasher
from llm_gateway.flow.reloading import Reloader
from llm_gateway.flow.stores import (
    CatalogEdit,
    CatalogStore,
    CredentialEntry,
    CredentialFields,
    ProviderEntry,
    ProviderFields,
)

Written = TypeVar("Written")

_ADMIN = "admin"
# A fault reads "provider 'x': field ..."; the field is what the error's `param` names.
_FAULT = re.compile(r"""(?:provider|credential) (?:'.*?'|".*?"): (\w+)""")
_FIELDS = frozenset({*ProviderFields.__struct_fields__, *CredentialFields.__struct_fields__, "api_key"})
_FIELD_OF_WORD = {"environment": "api_key", "an": "api_key", "its": "provider_key"}


class Edited(msgspec.Struct, Generic[Written], frozen=True, kw_only=True):
    """What an edit left behind."""

    # The row as it is now, or was when it was deleted.
    entry: Written
    # In force on this worker when the edit was answered.
    config_version: int
    # Process ids of workers of this machine that do not have it yet.
    laggards: tuple[int, ...] = ()
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

    # --- providers ---------------------------------------------------------------------------------

    async def create_provider(self, fields: ProviderFields) -> Edited[ProviderEntry]:
        """Store a provider; raise Conflict on a taken provider_key, Unprocessable on bad values."""
        _refuse_mask(fields)
        fields = self._with_default_base(fields)

        async def change(edit: CatalogEdit) -> tuple[ProviderEntry, str]:
            provider_id = await edit.add_provider(fields)
            entry = _found(await edit.find_provider(provider_id), "provider", provider_id)
            return entry, f"created provider {entry.provider_key!r}"

        return await self._edit(change)

    async def update_provider(self, ref: int | str, fields: ProviderFields) -> Edited[ProviderEntry]:
        """Change what is set in `fields`; raise NotFound, Conflict, Unprocessable."""

        async def change(edit: CatalogEdit) -> tuple[ProviderEntry, str]:
            before = _found(await edit.find_provider(ref), "provider", ref)
            kept = _without_masked_secret(fields, before)
            _refuse_mask(kept)
            changes = _changes(kept, before)
            if not changes:
                return before, ""
            await edit.change_provider(before.id, ProviderFields(**changes))
            after = _found(await edit.find_provider(before.id), "provider", ref)
            names = ", ".join("api_key" if name == "secret" else name for name in changes)
            return after, f"updated provider {before.provider_key!r}: {names}"

        return await self._edit(change)

    async def delete_provider(self, ref: int | str) -> Edited[ProviderEntry]:
        """Delete it and return what it was; raise NotFound."""

        async def change(edit: CatalogEdit) -> tuple[ProviderEntry, str]:
            entry = _found(await edit.find_provider(ref), "provider", ref)
            await edit.remove_provider(entry.id)
            return entry, f"deleted provider {entry.provider_key!r}"

        return await self._edit(change)

    # --- credentials -------------------------------------------------------------------------------

    async def create_credential(self, fields: CredentialFields, key: Secret | None) -> Edited[NewCredential]:
        """Store a credential with `key`, or a fresh one when None; raise Conflict on a taken key."""
        chosen = key or _fresh_key()
        stored = self._with_key(fields, chosen)

        async def change(edit: CatalogEdit) -> tuple[NewCredential, str]:
            credential_id = await edit.add_credential(stored)
            entry = _found(await edit.find_credential(credential_id), "credential", credential_id)
            made = NewCredential(entry=entry, key=None if key else chosen)
            return made, f"created credential {entry.id} {entry.name!r}"

        return await self._edit(change)

    async def update_credential(
        self, credential_id: int, fields: CredentialFields, key: Secret | None = None
    ) -> Edited[CredentialEntry]:
        """Change what is set in `fields`, and the key when one is given; raise NotFound, Conflict."""
        if key is not None:
            fields = self._with_key(fields, key)

        async def change(edit: CatalogEdit) -> tuple[CredentialEntry, str]:
            before = _found(await edit.find_credential(credential_id), "credential", credential_id)
            changes = _changes(fields, before)
            if not changes:
                return before, ""
            await edit.change_credential(credential_id, CredentialFields(**changes))
            after = _found(await edit.find_credential(credential_id), "credential", credential_id)
            names = ", ".join(name for name in changes if name != "key_prefix").replace("key_hash", "key")
            return after, f"updated credential {before.id} {before.name!r}: {names}"

        return await self._edit(change)

    async def rotate_credential(self, credential_id: int) -> Edited[NewCredential]:
        """Give the credential a fresh key, which the old one stops working for; raise NotFound."""
        fresh = _fresh_key()

        async def change(edit: CatalogEdit) -> tuple[NewCredential, str]:
            _found(await edit.find_credential(credential_id), "credential", credential_id)
            await edit.change_credential(credential_id, self._with_key(CredentialFields(), fresh))
            entry = _found(await edit.find_credential(credential_id), "credential", credential_id)
            made = NewCredential(entry=entry, key=fresh)
            return made, f"rotated the key of credential {entry.id} {entry.name!r}"

        return await self._edit(change)

    async def delete_credential(self, credential_id: int) -> Edited[CredentialEntry]:
        """Delete it and return what it was; raise NotFound."""

        async def change(edit: CatalogEdit) -> tuple[CredentialEntry, str]:
            entry = _found(await edit.find_credential(credential_id), "credential", credential_id)
            await edit.remove_credential(credential_id)
            return entry, f"deleted credential {entry.id} {entry.name!r}"

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
        laggards = await self._reloader.await_everyone(in_force)
        return Edited(entry=written, config_version=in_force, laggards=laggards)

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


Entry = TypeVar("Entry", ProviderEntry, CredentialEntry)


def _found(entry: Entry | None, noun: str, ref: int | str) -> Entry:
    if entry is None:
        raise NotFound(f"There is no {noun} {ref!r}")
    return entry


def _unprocessable(faults: tuple[str, ...]) -> Unprocessable:
    match = _FAULT.match(faults[0])
    word = match.group(1) if match else ""
    field = _FIELD_OF_WORD.get(word, word)
    return Unprocessable("; ".join(faults), param=field if field in _FIELDS else None)


def _without_masked_secret(fields: ProviderFields, before: ProviderEntry) -> ProviderFields:
    """Take a secret that came back as it was shown for what it means: keep the old one."""
    if isinstance(fields.secret, Secret) and fields.secret.reveal() == before.api_key:
        return msgspec.structs.replace(fields, secret=UNSET)
    return fields


def _refuse_mask(fields: ProviderFields) -> None:
    if isinstance(fields.secret, Secret) and fields.secret.reveal().startswith("***"):
        raise Unprocessable(
            "api_key is a masked value, as lists show it: send the real one, or leave it out to keep the old one",
            param="api_key",
        )


def _changes(
    fields: ProviderFields | CredentialFields, before: ProviderEntry | CredentialEntry
) -> dict[str, Any]:
    """Return what is set in `fields` and differs from the row; a new secret or key always does."""
    unknown = object()
    given = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {
        name: value
        for name, value in given.items()
        if value is not UNSET and value != getattr(before, "api_key" if name == "secret" else name, unknown)
    }
