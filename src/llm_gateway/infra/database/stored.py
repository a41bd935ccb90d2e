"""The catalog as its rows are stored, and the one way from there to the values that a snapshot is built from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_gateway.core.catalog import Catalog, Credential, Provider
from llm_gateway.core.secret import Secret
from llm_gateway.infra.database import tables
from llm_gateway.infra.secrets import MissingVariable, SealBroken, Vault, is_reference, resolve_reference

_MAPPING = msgspec.json.Decoder(dict[str, str])
_MODELS = msgspec.json.Decoder(tuple[str, ...] | None)


class ProviderRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `providers` as the driver gives it, JSON as text, the secret sealed; in the order of the query."""

    id: int
    provider_key: str
    provider_type: str
    api_base: str
    secret: str | None
    model_mapping: str
    weight: int
    is_enabled: bool


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of `credentials` as the driver gives it, JSON as text; in the order of the query."""

    id: int
    name: str
    key_hash: bytes
    allowed_models: str | None
    rate_limit: int | None
    is_enabled: bool


class StoredCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the rows: safe to write to disk as it is."""

    version: int
    providers: tuple[ProviderRow, ...]
    credentials: tuple[CredentialRow, ...]


class LoadedCatalog(Catalog, frozen=True, kw_only=True):
    """A catalog that remembers the rows it came from, so that it can be kept without opening or sealing."""

    stored: StoredCatalog


def secret_place(provider_id: int) -> str:
    """Return what a provider's sealed secret is bound to: it opens in no other row."""
    return f"provider:{provider_id}:api_key"


_STATE = sa.select(tables.config_state.c.version)


def _as_stored(column: sa.Column[object]) -> sa.ColumnElement[object]:
    # JSON comes as text: a row that was broken by hand must become a fault with a name, not an exception.
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


_PROVIDERS = sa.select(
    *(_as_stored(tables.providers.c[name]) for name in ProviderRow.__struct_fields__)
).order_by(tables.providers.c.id)
_CREDENTIALS = sa.select(
    *(_as_stored(tables.credentials.c[name]) for name in CredentialRow.__struct_fields__)
).order_by(tables.credentials.c.id)


async def read_version(connection: AsyncConnection) -> int:
    """Return the version of the catalog in this transaction."""
    return int((await connection.execute(_STATE)).scalar_one())


async def read_stored(connection: AsyncConnection) -> StoredCatalog:
    """Read all rows; the caller's transaction makes it one state of the database."""
    # The first statement also opens the transaction that the driver's own calls below are part of.
    version = await read_version(connection)
    providers = await _fetch(connection, _PROVIDERS)
    credentials = await _fetch(connection, _CREDENTIALS)
    # Ten thousand rows take a tenth of a second: other requests go on meanwhile.
    return await asyncio.to_thread(_stored, version, providers, credentials)


async def _fetch(connection: AsyncConnection, statement: sa.ClauseElement) -> Sequence[Any]:
    """Return the driver's own rows: SQLAlchemy's cost three times as much, and on the event loop."""
    sql = str(statement.compile(dialect=connection.dialect))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    rows: Sequence[Any]
    if connection.dialect.name == "postgresql":
        rows = await driver.fetch(sql)
    else:
        rows = await driver.execute_fetchall(sql)
    return rows


def _stored(version: int, providers: Sequence[Any], credentials: Sequence[Any]) -> StoredCatalog:
    # SQLite's booleans, which come last, are integers.
    return StoredCatalog(
        version=version,
        providers=tuple([ProviderRow(*(*row[:-1], bool(row[-1]))) for row in providers]),
        credentials=tuple([CredentialRow(*(*row[:-1], bool(row[-1]))) for row in credentials]),
    )


class CatalogOpener:
    """Opens stored rows: secrets unsealed or looked up, JSON parsed, and what cannot be read named as a fault."""

    def __init__(self, vault: Vault, environ: Mapping[str, str]) -> None:
        """Open under `vault`; `env:NAME` is looked up in `environ`."""
        self._vault = vault
        self._environ = environ
        # Unsealing costs more than all the rest, and most rows are the same from load to load.
        self._opened: dict[tuple[int, str], Secret] = {}

    def open(self, stored: StoredCatalog) -> LoadedCatalog:
        """Return the catalog of `stored`; pure computation, fit for a thread."""
        faults: list[str] = []
        opened: dict[tuple[int, str], Secret] = {}
        providers = tuple([self._provider(row, opened, faults) for row in stored.providers])
        credentials = tuple([_credential(row, faults) for row in stored.credentials])
        self._opened = opened
        return LoadedCatalog(
            version=stored.version,
            providers=providers,
            credentials=credentials,
            faults=tuple(faults),
            stored=stored,
        )

    def _provider(
        self, row: ProviderRow, opened: dict[tuple[int, str], Secret], faults: list[str]
    ) -> Provider:
        name = f"provider {row.provider_key!r}"
        mapping: dict[str, str] = {}
        try:
            mapping = _MAPPING.decode(row.model_mapping)
        except msgspec.DecodeError:
            faults.append(f"{name}: model_mapping must be an object of public names and upstream names")
        secret = None
        try:
            secret = self._secret(row, opened)
        except (MissingVariable, SealBroken) as fault:
            # A disabled provider is never called: it may wait for its secret without blocking the rest.
            if row.is_enabled:
                faults.append(f"{name}: {_sentence(fault)}")
        return Provider(
            id=row.id,
            provider_key=row.provider_key,
            provider_type=row.provider_type,
            api_base=row.api_base,
            secret=secret,
            model_mapping=mapping,
            weight=row.weight,
            is_enabled=row.is_enabled,
        )

    def _secret(self, row: ProviderRow, opened: dict[tuple[int, str], Secret]) -> Secret | None:
        text = row.secret
        if text is None:
            return None
        if is_reference(text):
            return Secret(resolve_reference(text, self._environ))
        key = (row.id, text)
        secret = self._opened.get(key)
        if secret is None:
            secret = Secret(self._vault.open(text, secret_place(row.id)).decode())
        opened[key] = secret
        return secret


def _sentence(fault: MissingVariable | SealBroken) -> str:
    if isinstance(fault, MissingVariable):
        return str(fault)
    return f"api_key cannot be opened ({fault}); set it again through the admin API"


def _credential(row: CredentialRow, faults: list[str]) -> Credential:
    models: tuple[str, ...] | None = ()
    try:
        models = None if row.allowed_models is None else _MODELS.decode(row.allowed_models)
    except msgspec.DecodeError:
        faults.append(f"credential {row.name!r}: allowed_models must be a list of model names, or null")
    return Credential(
        id=row.id,
        name=row.name,
        key_hash=bytes(row.key_hash),
        allowed_models=models,
        rate_limit=row.rate_limit,
        is_enabled=row.is_enabled,
    )
