"""What editing the catalog and reading the stored facts need of a database: ports and the values that cross them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.catalog import Catalog
from llm_gateway.core.records import Outcome, UsageRecord
from llm_gateway.core.secret import Secret

Answer = TypeVar("Answer")

# --- the catalog's rows ----------------------------------------------------------------------------


class ProviderFields(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin may say of a provider; what is UNSET stays as it is, or gets its default."""

    provider_key: str | UnsetType = UNSET
    provider_type: str | UnsetType = UNSET
    api_base: str | UnsetType = UNSET
    # The upstream's key, or `env:NAME`.
    secret: Secret | UnsetType | None = UNSET
    model_mapping: dict[str, str] | UnsetType = UNSET
    weight: int | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


class ProviderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A stored provider as an admin sees it. Times are Unix microseconds."""

    id: int
    provider_key: str
    provider_type: str
    api_base: str
    # Masked, or `env:NAME`; None when it has none.
    api_key: str | None
    model_mapping: dict[str, str]
    weight: int
    is_enabled: bool
    created_at: int
    updated_at: int


class CredentialFields(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin may say of a credential; what is UNSET stays as it is, or gets its default."""

    name: str | UnsetType = UNSET
    key_hash: bytes | UnsetType = UNSET
    key_prefix: str | UnsetType = UNSET
    # None = all models.
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    # None = unlimited.
    rate_limit: int | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET


class CredentialEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A stored credential as an admin sees it. Times are Unix microseconds."""

    id: int
    name: str
    key_prefix: str
    allowed_models: tuple[str, ...] | None
    rate_limit: int | None
    is_enabled: bool
    created_at: int
    updated_at: int


class CatalogEdit(Protocol):
    """One open transaction: what it wrote is stored when the change function returns, all or nothing."""

    async def find_provider(self, ref: int | str) -> ProviderEntry | None:
        """Return the provider with this id (int) or provider_key (str)."""

    async def add_provider(self, fields: ProviderFields) -> int:
        """Store a provider and return its id, never given before; raise Conflict on a taken provider_key."""

    async def change_provider(self, provider_id: int, fields: ProviderFields) -> None:
        """Store what is set in `fields`; raise Conflict on a taken provider_key."""

    async def remove_provider(self, provider_id: int) -> None:
        """Delete the row."""

    async def find_credential(self, credential_id: int) -> CredentialEntry | None:
        """Return the credential with this id."""

    async def add_credential(self, fields: CredentialFields) -> int:
        """Store a credential and return its id, never given before; raise Conflict on a taken key."""

    async def change_credential(self, credential_id: int, fields: CredentialFields) -> None:
        """Store what is set in `fields`; raise Conflict on a taken key."""

    async def remove_credential(self, credential_id: int) -> None:
        """Delete the row."""

    async def catalog(self) -> Catalog:
        """Return the whole catalog as it would be after this transaction, with the version it would have."""

    async def note(self, version: int, actor: str, action: str) -> None:
        """Record who did what; `action` holds no secret."""


class CatalogStore(Protocol):
    """The catalog's rows: one writer at a time, and reads for the admin API. All may raise StoreUnavailable."""

    async def edit(self, change: Callable[[CatalogEdit], Awaitable[Answer]]) -> Answer:
        """Run `change` in one transaction and commit it; nothing is stored when it raises.

        Editors wait for one another, over all machines.
        """

    async def list_providers(self, after: int, limit: int) -> list[ProviderEntry]:
        """Return up to `limit` providers with ids above `after`, by id."""

    async def find_provider(self, ref: int | str) -> ProviderEntry | None:
        """Return the provider with this id (int) or provider_key (str)."""

    async def list_credentials(self, after: int, limit: int) -> list[CredentialEntry]:
        """Return up to `limit` credentials with ids above `after`, by id."""

    async def find_credential(self, credential_id: int) -> CredentialEntry | None:
        """Return the credential with this id."""


class CatalogKeeper(Protocol):
    """Keeps the last good catalog where it can be read while the database cannot."""

    def keep(self, catalog: Catalog) -> None:
        """Remember `catalog`, which came from a CatalogSource or a CatalogEdit. Returns at once, never raises."""

    async def recall(self) -> Catalog | None:
        """Return what was kept last, or None when there is nothing or it cannot be read."""


# --- usage -----------------------------------------------------------------------------------------


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage rows are meant: all that are given must match. Times are Unix microseconds."""

    # Inclusive.
    since: int | None = None
    # Exclusive.
    until: int | None = None
    credential: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None


class UsagePlace(msgspec.Struct, frozen=True):
    """A place in the list of usage rows: that of the last row of a page."""

    created_at: int
    request_id: str


class UsageReader(Protocol):
    """Reads stored usage facts. May raise StoreUnavailable."""

    async def list(self, wanted: UsageFilter, after: UsagePlace | None, limit: int) -> list[UsageRecord]:
        """Return up to `limit` rows, newest first, that come behind `after`."""
