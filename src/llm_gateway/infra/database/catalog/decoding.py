"""The one way from stored rows to the values that a snapshot is built from; what cannot be read is a named fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.config.catalog import Credential, Model, Provider, TaskType
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows import CredentialEntry, Entry, ModelEntry, ProviderEntry, TaskTypeEntry
from llm_gateway.infra.database.catalog.columns import COLUMNS
from llm_gateway.infra.database.catalog.rows import (
    CredentialRow,
    LoadedCatalog,
    ModelRow,
    ProviderRow,
    StoredCatalog,
    TaskTypeRow,
    secret_place,
)
from llm_gateway.infra.secrets.env_references import MissingVariable, is_reference, resolve_reference
from llm_gateway.infra.secrets.vault import SealBroken, Vault


class CatalogDecoder:
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
        models = tuple([_model(row, faults) for row in stored.models])
        task_types = tuple([_task_type(row, faults) for row in stored.task_types])
        self._opened = opened
        return LoadedCatalog(
            version=stored.version,
            providers=providers,
            credentials=credentials,
            models=models,
            task_types=task_types,
            faults=tuple(faults),
            stored=stored,
        )

    def _provider(
        self, row: ProviderRow, opened: dict[tuple[int, str], Secret], faults: list[str]
    ) -> Provider:
        read = _read(ProviderEntry, row, row.provider_key, faults)
        secret = None
        try:
            secret = self._secret(row, opened)
        except (MissingVariable, SealBroken) as fault:
            # A disabled provider is never called: it may wait for its secret without blocking the rest.
            if row.is_enabled:
                faults.append(f"provider {row.provider_key!r}: {_sentence(fault)}")
        stream_usage = row.stream_usage
        return Provider(
            id=row.id,
            provider_key=row.provider_key,
            provider_type=row.provider_type,
            api_base=row.api_base,
            secret=secret,
            is_enabled=bool(row.is_enabled),
            api_version=row.api_version,
            stream_usage=None if stream_usage is None else bool(stream_usage),
            **read,
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
    return Credential(
        id=row.id,
        name=row.name,
        key_hash=bytes(row.key_hash),
        is_enabled=bool(row.is_enabled),
        **_read(CredentialEntry, row, row.name, faults),
    )


def _model(row: ModelRow, faults: list[str]) -> Model:
    return Model(
        id=row.id,
        name=row.name,
        # An unknown one is named by the judgement of the whole.
        strategy=row.strategy,  # type: ignore[arg-type]
        affinity=row.affinity,
        **_read(ModelEntry, row, row.name, faults),
    )


def _task_type(row: TaskTypeRow, faults: list[str]) -> TaskType:
    return TaskType(id=row.id, name=row.name, **_read(TaskTypeEntry, row, row.name, faults))


def _read(entry: type[Entry], row: msgspec.Struct, called: str, faults: list[str]) -> dict[str, Any]:
    """Return the values of the row's JSON and number columns, stand-ins for those that are faults."""
    values: dict[str, Any] = {}
    for field, column in COLUMNS[entry].items():
        stored = getattr(row, field)
        # Most need no decoding, and ten thousand rows are opened at a time.
        if stored is None or type(stored) in column.numbers:
            values[field] = stored
            continue
        try:
            values[field] = column.read(stored)
        except msgspec.DecodeError:
            faults.append(f"{entry.noun} {called!r}: {field} must be {column.wanted}")
            values[field] = column.stand_in
    return values
