"""Finds everything that is wrong with a catalog. No fault holds a secret."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import credential_faults
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import model_faults
from llm_gateway.core.config.providers import Kind, provider_faults
from llm_gateway.core.config.task_types import task_type_faults


def catalog_faults(catalog: Catalog, kinds: Mapping[str, Kind]) -> list[Fault]:
    """Return every fault, those found while reading the rows first."""
    faults = list(catalog.faults)
    keys = ((row.provider_key, row.provider_key) for row in catalog.providers)
    faults += _duplicates("provider", "provider_key", keys)
    for provider in catalog.providers:
        faults += provider_faults(provider, kinds)
    # Names of credentials need not be unique, their keys must be.
    faults += _duplicates("credential", "key", ((row.name, row.key_hash) for row in catalog.credentials))
    for credential in catalog.credentials:
        faults += credential_faults(credential)
    faults += _duplicates("model", "name", ((row.name, row.name) for row in catalog.models))
    for model in catalog.models:
        faults += model_faults(model)
    faults += _duplicates("task type", "name", ((row.name, row.name) for row in catalog.task_types))
    for task in catalog.task_types:
        faults += task_type_faults(task)
    return faults


def _duplicates(resource: str, field: str, rows: Iterable[tuple[str, Hashable]]) -> Iterator[Fault]:
    """Yield a fault for each row whose value was seen before; `rows` are (label, value)."""
    seen: set[Hashable] = set()
    for row, value in rows:
        if value in seen:
            yield Fault(resource, row, field, f"{field} is used twice")
        seen.add(value)
