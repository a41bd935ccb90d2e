"""Decodes stored rows to the values that a snapshot is built from; what cannot be read becomes a fault."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.secret import Secret
from llm_gateway.infra.database.catalog.accounts import BUDGETS, PROJECTS, TENANTS
from llm_gateway.infra.database.catalog.credentials import CREDENTIALS, CredentialRow
from llm_gateway.infra.database.catalog.models import MODELS
from llm_gateway.infra.database.catalog.prices import PRICES
from llm_gateway.infra.database.catalog.providers import PROVIDERS, ProviderRow, secret_associated_data
from llm_gateway.infra.database.catalog.stored_catalog import LoadedCatalog, StoredCatalog
from llm_gateway.infra.database.catalog.task_types import TASK_TYPES
from llm_gateway.infra.secrets.env_references import MissingVariable, is_reference, resolve_reference
from llm_gateway.infra.secrets.vault import SealBroken, Vault

_HEX_BYTES = re.compile(r"\\x((?:[0-9a-fA-F]{2})+)")


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
        tenants = tuple([Tenant(**TENANTS.read(row, row.name, faults)) for row in stored.tenants])
        projects = tuple([Project(**PROJECTS.read(row, row.name, faults)) for row in stored.projects])
        budgets = tuple([Budget(**BUDGETS.read(row, row.name, faults)) for row in stored.budgets])
        prices = tuple([PriceOverride(**PRICES.read(row, row.label, faults)) for row in stored.prices])
        self._opened = opened
        return LoadedCatalog(
            version=stored.version,
            providers=providers,
            credentials=credentials,
            models=models,
            task_types=task_types,
            tenants=tenants,
            projects=projects,
            budgets=budgets,
            prices=prices,
            faults=tuple(faults),
            stored=stored,
        )

    def _provider(
        self, row: ProviderRow, opened: dict[tuple[int, str], Secret], faults: list[Fault]
    ) -> Provider:
        values = PROVIDERS.read(row, row.provider_key, faults)
        secret, values["secret"] = values["secret"], None
        try:
            values["secret"] = self._secret(row.id, secret, opened)
        except (MissingVariable, SealBroken) as error:
            # A disabled provider is never called: it may wait for its secret without blocking the rest.
            if values["is_enabled"]:
                faults.append(Fault("provider", values["provider_key"], "api_key", _message(error), row.id))
        return Provider(**values)

    def _secret(self, row_id: int, text: str | None, opened: dict[tuple[int, str], Secret]) -> Secret | None:
        if text is None:
            return None
        if is_reference(text):
            return Secret(resolve_reference(text, self._environ))
        key = (row_id, text)
        secret = self._opened.get(key)
        if secret is None:
            secret = Secret(self._vault.open(text, secret_associated_data(row_id)).decode())
        opened[key] = secret
        return secret


def _credential(row: CredentialRow, faults: list[Fault]) -> Credential:
    values = CREDENTIALS.read(row, row.name, faults)
    key_hash = _hash(row.key_hash)
    if key_hash is None:
        # SQLite stores text in a column of bytes.
        message = "key must be set again: its stored hash is text"
        faults.append(Fault("credential", values["name"], "key", message, row.id))
    values["key_hash"] = key_hash or b""
    if row.previous_key_hash is not None:
        # A previous key that cannot be read is no key.
        values["previous_key_hash"] = _hash(row.previous_key_hash)
    return Credential(**values)


def _hash(stored: object) -> bytes | None:
    """Return a stored hash, which SQLite may hold as PostgreSQL writes and reads bytes; None for other text."""
    if isinstance(stored, str) and (match := _HEX_BYTES.fullmatch(stored)):
        return bytes.fromhex(match[1])
    return stored if isinstance(stored, bytes) else None


def _message(error: MissingVariable | SealBroken) -> str:
    if isinstance(error, MissingVariable):
        return str(error)
    return f"api_key cannot be opened ({error}); set it again through the admin API"
