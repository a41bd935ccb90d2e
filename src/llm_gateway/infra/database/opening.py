"""The one way from stored rows to the values that a snapshot is built from; what cannot be read is a named fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.catalog import Credential, Model, Provider, TaskType
from llm_gateway.core.secret import Secret
from llm_gateway.flow.stores import CredentialEntry, ModelEntry, ProviderEntry, TaskTypeEntry
from llm_gateway.infra.database.columns import JSON_COLUMNS
from llm_gateway.infra.database.stored import (
    CredentialRow,
    LoadedCatalog,
    ModelRow,
    ProviderRow,
    StoredCatalog,
    TaskTypeRow,
    secret_place,
)
from llm_gateway.infra.secrets import MissingVariable, SealBroken, Vault, is_reference, resolve_reference


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
        name = f"provider {row.provider_key!r}"
        read = _read(ProviderEntry, row, name, faults)
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
            weight=_whole(row.weight, f"{name}: weight", faults) or 0,
            is_enabled=bool(row.is_enabled),
            api_version=row.api_version,
            stream_usage=None if row.stream_usage is None else bool(row.stream_usage),
            probe_interval=_seconds(row.probe_interval, f"{name}: probe_interval", faults),
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
    name = f"credential {row.name!r}"
    return Credential(
        id=row.id,
        name=row.name,
        key_hash=bytes(row.key_hash),
        rate_limit=_whole(row.rate_limit, f"{name}: rate_limit", faults),
        is_enabled=bool(row.is_enabled),
        **_read(CredentialEntry, row, name, faults),
    )


def _model(row: ModelRow, faults: list[str]) -> Model:
    return Model(
        id=row.id,
        name=row.name,
        # An unknown one is named by the judgement of the whole.
        strategy=row.strategy,  # type: ignore[arg-type]
        affinity=row.affinity,
        **_read(ModelEntry, row, f"model {row.name!r}", faults),
    )


def _task_type(row: TaskTypeRow, faults: list[str]) -> TaskType:
    read = _read(TaskTypeEntry, row, f"task type {row.name!r}", faults)
    return TaskType(id=row.id, name=row.name, **read)


def _read(entry: type, row: msgspec.Struct, name: str, faults: list[str]) -> dict[str, Any]:
    """Return the values of the row's JSON columns, stand-ins for those that are faults."""
    values = {}
    for field, column in JSON_COLUMNS[entry].items():
        try:
            values[field] = column.read(getattr(row, field))
        except msgspec.DecodeError:
            faults.append(f"{name}: {field} must be {column.wanted}")
            values[field] = column.stand_in
    return values


def _whole(value: int | None, place: str, faults: list[str]) -> int | None:
    # SQLite keeps whatever it is given.
    if value is None or type(value) is int:
        return value
    faults.append(f"{place} must be a whole number")
    return None


def _seconds(value: float | None, place: str, faults: list[str]) -> float | None:
    if value is None or type(value) in {int, float}:
        return value
    faults.append(f"{place} must be a number of seconds")
    return None
