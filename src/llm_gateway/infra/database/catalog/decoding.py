"""Decodes stored rows to the values that a snapshot is built from; what cannot be read becomes a fault."""

from __future__ import annotations

from collections.abc import Mapping

from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.secret import Secret
from llm_gateway.infra.database.catalog.credentials import CREDENTIALS, CredentialRow
from llm_gateway.infra.database.catalog.models import MODELS
from llm_gateway.infra.database.catalog.providers import PROVIDERS, ProviderRow, secret_associated_data
from llm_gateway.infra.database.catalog.stored_catalog import LoadedCatalog, StoredCatalog
from llm_gateway.infra.database.catalog.task_types import TASK_TYPES
from llm_gateway.infra.secrets.env_references import MissingVariable, is_reference, resolve_reference
from llm_gateway.infra.secrets.vault import SealBroken, Vault


class CatalogDecoder:
    """Decodes stored rows: opens or looks up secrets, parses JSON, reports what cannot be read as faults."""

    def __init__(self, vault: Vault, environ: Mapping[str, str]) -> None:
        """Open secrets with `vault`; look `env:NAME` up in `environ`."""
        self._vault = vault
        self._environ = environ
        # Opening a secret costs more than all the rest, and most rows are the same from load to load.
        self._opened: dict[tuple[int, str], Secret] = {}

    def decode(self, stored: StoredCatalog) -> LoadedCatalog:
        """Return the catalog of `stored`; pure computation, fit for a thread."""
        faults: list[Fault] = []
        opened: dict[tuple[int, str], Secret] = {}
        providers = tuple([self._provider(row, opened, faults) for row in stored.providers])
        credentials = tuple([_credential(row, faults) for row in stored.credentials])
        models = tuple([Model(**MODELS.read(row, row.name, faults)) for row in stored.models])
        task_types = tuple([TaskType(**TASK_TYPES.read(row, row.name, faults)) for row in stored.task_types])
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
        self, row: ProviderRow, opened: dict[tuple[int, str], Secret], faults: list[Fault]
    ) -> Provider:
        values = PROVIDERS.read(row, row.provider_key, faults)
        values["secret"] = None
        try:
            values["secret"] = self._secret(row, opened)
        except (MissingVariable, SealBroken) as error:
            # A disabled provider is never called: it may wait for its secret without blocking the rest.
            if row.is_enabled:
                faults.append(Fault("provider", row.provider_key, "api_key", _message(error)))
        return Provider(**values)

    def _secret(self, row: ProviderRow, opened: dict[tuple[int, str], Secret]) -> Secret | None:
        text = row.secret
        if text is None:
            return None
        if is_reference(text):
            return Secret(resolve_reference(text, self._environ))
        key = (row.id, text)
        secret = self._opened.get(key)
        if secret is None:
            secret = Secret(self._vault.open(text, secret_associated_data(row.id)).decode())
        opened[key] = secret
        return secret


def _credential(row: CredentialRow, faults: list[Fault]) -> Credential:
    values = CREDENTIALS.read(row, row.name, faults)
    key_hash: object = row.key_hash
    if isinstance(key_hash, str):
        # SQLite stores text in a column of bytes.
        faults.append(Fault("credential", row.name, "key", "key must be set again: its stored hash is text"))
        values["key_hash"] = b""
    return Credential(**values)


def _message(error: MissingVariable | SealBroken) -> str:
    if isinstance(error, MissingVariable):
        return str(error)
    return f"api_key cannot be opened ({error}); set it again through the admin API"
