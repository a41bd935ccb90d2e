"""Where the configuration is read from."""

from __future__ import annotations

from typing import Protocol

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import Unavailable


class StoreUnavailable(Unavailable):
    """The database does not answer; the message names no password, and is a 503 where a client waits for it."""

    code = "database_unavailable"


class CatalogSource(Protocol):
    """Where the catalog is read from."""

    async def load(self) -> Catalog:
        """Return one consistent read of everything, secrets opened (what did not open is in `faults`)."""

    async def version(self) -> int:
        """Return the version that `load` would have now: one cheap read."""


class Snapshots(Protocol):
    """Where a request finds its configuration: it reads `current` once."""

    @property
    def current(self) -> Snapshot | None:
        """Return the snapshot in force, None until the first one is."""


class KeyHasher(Protocol):
    """Turns a client's key into what the catalog stores of it."""

    def hash(self, key: str) -> bytes:
        """Return the keyed hash, the same work for every key."""
