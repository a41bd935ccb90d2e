"""Opens the gateway's own sealed values, checks the key with them, and reseals everything after a rotation."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.config.rows.history import VersionChanges, VersionNote
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog import providers
from llm_gateway.infra.database.catalog.providers import secret_associated_data
from llm_gateway.infra.database.catalog.stored_catalog import read_version
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.history.noting import wait_for_other_editors, write_note
from llm_gateway.infra.secrets.env_references import is_reference
from llm_gateway.infra.secrets.key_files import KeyRing
from llm_gateway.infra.secrets.key_hashing import PEPPER_BYTES
from llm_gateway.infra.secrets.vault import SealBroken, Vault
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine
from llm_gateway.infra.startup_error import StartupError

_CANARY = b"the key is right"
_ACTOR = "gateway"
_ACTION = "sealed the providers' keys again"
_NAMES = ("canary", "pepper")
# Both stores read it alike; SQLAlchemy's own way to say it would load the dialect of the other one, too.
_INSERT = (
    "INSERT INTO sealed_settings (name, value) VALUES ('canary', :canary), ('pepper', :pepper)"
    " ON CONFLICT DO NOTHING"
)


class SealedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's own sealed values, as they are stored."""

    canary: str
    pepper: str


def _associated_data(name: str) -> str:
    return f"sealed_settings:{name}"


def open_pepper(vault: Vault, sealed: SealedSettings, ring: KeyRing) -> bytes:
    """Return the pepper of the client keys; raise StartupError, naming the variable, when the key is wrong."""
    try:
        if vault.open(sealed.canary, _associated_data("canary")) == _CANARY:
            return vault.open(sealed.pepper, _associated_data("pepper"))
    except SealBroken:
        pass
    raise StartupError(
        f"{ring.source} is not the key that this database's secrets were sealed with. Bring the old key back"
        " (to change it, see docs/how-to/rotate-secrets.md)."
        + (" The old key is the ADMIN_KEY of before." if ring.source == "ADMIN_KEY" else "")
    )


async def read_sealed_settings(engine: AsyncEngine, vault: Vault) -> SealedSettings:
    """Return the sealed values, making them if this database has none; raise StoreUnavailable."""
    async with reading(engine) as connection:
        found = await _find(connection)
    if found is not None:
        return found
    pepper = secrets.token_bytes(PEPPER_BYTES)
    fresh = {
        "canary": vault.seal(_CANARY, _associated_data("canary")),
        "pepper": vault.seal(pepper, _associated_data("pepper")),
    }
    async with writing(engine) as connection:
        # Another worker may be first: all or nothing of one of them stays, since both rows go in one statement.
        await connection.execute(sa.text(_INSERT), fresh)
    async with reading(engine) as connection:
        found = await _find(connection)
    if found is None:
        raise StartupError(
            "The table sealed_settings holds a part of its rows only: restore it from a backup"
        )
    return found


async def _find(connection: AsyncConnection) -> SealedSettings | None:
    rows = await connection.execute(sa.select(tables.sealed_settings))
    values: dict[str, Any] = {row.name: row.value for row in rows if row.name in _NAMES}
    return SealedSettings(**values) if len(values) == len(_NAMES) else None


async def reseal(engine: AsyncEngine, vault: Vault, now_us: int) -> int:
    """Bring every sealed value under the newest key, and return how many were not; raise StoreUnavailable.

    The catalog's version that this makes is noted as one that changed nothing.

    What does not open is left as it is: the catalog names it as a fault.
    """
    async with reading(engine) as connection:
        outdated = await _outdated(connection, vault)
    if not outdated:
        return 0
    async with writing(engine) as connection:
        await wait_for_other_editors(connection)
        before = await read_version(connection)
        for table, column, key, associated_data, sealed in await _outdated(connection, vault):
            try:
                fresh = vault.reseal(sealed, associated_data)
            except SealBroken:
                continue
            # Unless an admin, or another worker that starts, changed it in the meantime.
            same = sa.and_(next(iter(table.primary_key)) == key, column == sealed)
            await connection.execute(sa.update(table).where(same).values({column.name: fresh}))
        if (version := await read_version(connection)) > before:
            changes = VersionChanges(based_on=before, rows=())
            note = VersionNote(created_at=now_us, actor=_ACTOR, action=_ACTION, changes=changes)
            await write_note(connection, version, note)
    return len(outdated)


_Outdated = tuple[sa.Table, "sa.Column[Any]", "int | str", str, str]


async def _outdated(connection: AsyncConnection, vault: Vault) -> list[_Outdated]:
    provider, setting = providers.table.c, tables.sealed_settings.c
    secrets_at = await connection.execute(
        sa.select(provider.id, provider.secret).where(provider.secret.is_not(None))
    )
    found: list[_Outdated] = [
        (providers.table, provider.secret, row.id, secret_associated_data(row.id), row.secret)
        for row in secrets_at
        if not is_reference(row.secret) and not vault.is_newest(row.secret)
    ]
    # In one order for all, so that workers that start together do not block one another crosswise.
    settings = await connection.execute(sa.select(tables.sealed_settings).order_by(setting.name))
    found += [
        (tables.sealed_settings, setting.value, row.name, _associated_data(row.name), row.value)
        for row in settings
        if not vault.is_newest(row.value)
    ]
    return found
