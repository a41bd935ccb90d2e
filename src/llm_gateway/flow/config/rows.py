"""What editing the catalog and reading the stored facts need of a database: ports and the values that cross them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.catalog import CacheRules, Catalog, ClientCredentials, RetryRules, Timeouts
from llm_gateway.core.ledger.records import AttemptEnded, Outcome, UsageRecord
from llm_gateway.core.secret import Secret

Answer = TypeVar("Answer")

# --- the catalog's rows ----------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A stored row as an admin sees it. Times are Unix microseconds.

    What is stored as JSON and cannot be read (somebody broke it with SQL) is UNSET, so that every value differs
    from it, and setting one mends it.
    """

    # What such a row is called in messages.
    noun: ClassVar[str]

    id: int
    created_at: int
    updated_at: int

    @property
    def called(self) -> str:
        """Return what a note calls this row; no secret."""
        raise NotImplementedError


Row = TypeVar("Row", bound=Entry)


class Fields(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """What an admin may say of a row; what is UNSET stays as it is, or gets its default."""


class ProviderEntry(Entry, frozen=True, kw_only=True):
    """A stored provider."""

    noun: ClassVar[str] = "provider"

    provider_key: str
    provider_type: str
    api_base: str
    # Masked, or `env:NAME`; None when it has none.
    api_key: str | None
    model_mapping: dict[str, str] | UnsetType
    weight: int
    is_enabled: bool
    oauth2: ClientCredentials | UnsetType | None = None
    api_version: str | None = None
    stream_usage: bool | None = None
    probe_interval: float | None = None

    @property
    def called(self) -> str:
        """Return its name."""
        return f"provider {self.provider_key!r}"


class ProviderFields(Fields[ProviderEntry], frozen=True, kw_only=True):
    """What an admin may say of a provider."""

    provider_key: str | UnsetType = UNSET
    provider_type: str | UnsetType = UNSET
    api_base: str | UnsetType = UNSET
    # The upstream's key, or `env:NAME`.
    secret: Secret | UnsetType | None = UNSET
    model_mapping: dict[str, str] | UnsetType = UNSET
    weight: int | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    oauth2: ClientCredentials | UnsetType | None = UNSET
    api_version: str | UnsetType | None = UNSET
    stream_usage: bool | UnsetType | None = UNSET
    probe_interval: float | UnsetType | None = UNSET


class CredentialEntry(Entry, frozen=True, kw_only=True):
    """A stored credential."""

    noun: ClassVar[str] = "credential"

    name: str
    key_prefix: str
    allowed_models: tuple[str, ...] | UnsetType | None
    rate_limit: int | None
    is_enabled: bool
    cache: CacheRules | UnsetType | None = None

    @property
    def called(self) -> str:
        """Return its id and its name, which others may have too."""
        return f"credential {self.id} {self.name!r}"


class CredentialFields(Fields[CredentialEntry], frozen=True, kw_only=True):
    """What an admin may say of a credential."""

    name: str | UnsetType = UNSET
    key_hash: bytes | UnsetType = UNSET
    key_prefix: str | UnsetType = UNSET
    # None = all models.
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    # None = unlimited.
    rate_limit: int | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    # None = what the model says.
    cache: CacheRules | UnsetType | None = UNSET


class ModelEntry(Entry, frozen=True, kw_only=True):
    """What is stored of a public model."""

    noun: ClassVar[str] = "model"

    name: str
    strategy: str
    weights: dict[str, int] | UnsetType
    fallbacks: tuple[str, ...] | UnsetType
    context_fallbacks: tuple[str, ...] | UnsetType
    policy_fallbacks: tuple[str, ...] | UnsetType
    timeouts: Timeouts | UnsetType
    retry: RetryRules | UnsetType
    affinity: str | None
    cache: CacheRules | UnsetType | None

    @property
    def called(self) -> str:
        """Return its name."""
        return f"model {self.name!r}"


class ModelFields(Fields[ModelEntry], frozen=True, kw_only=True):
    """What an admin may say of a public model."""

    name: str | UnsetType = UNSET
    strategy: str | UnsetType = UNSET
    weights: dict[str, int] | UnsetType = UNSET
    fallbacks: tuple[str, ...] | UnsetType = UNSET
    context_fallbacks: tuple[str, ...] | UnsetType = UNSET
    policy_fallbacks: tuple[str, ...] | UnsetType = UNSET
    timeouts: Timeouts | UnsetType = UNSET
    retry: RetryRules | UnsetType = UNSET
    affinity: str | UnsetType | None = UNSET
    cache: CacheRules | UnsetType | None = UNSET


class TaskTypeEntry(Entry, frozen=True, kw_only=True):
    """A stored task type."""

    noun: ClassVar[str] = "task type"

    name: str
    models: tuple[str, ...] | UnsetType

    @property
    def called(self) -> str:
        """Return its name."""
        return f"task type {self.name!r}"


class TaskTypeFields(Fields[TaskTypeEntry], frozen=True, kw_only=True):
    """What an admin may say of a task type."""

    name: str | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET


_ENTRY_OF: Mapping[type[Fields[Any]], type[Entry]] = {
    ProviderFields: ProviderEntry,
    CredentialFields: CredentialEntry,
    ModelFields: ModelEntry,
    TaskTypeFields: TaskTypeEntry,
}


def entry_type(fields: Fields[Row]) -> type[Row]:
    """Return what the rows that `fields` speak of are read as."""
    return cast("type[Row]", _ENTRY_OF[type(fields)])


class CatalogEdit(Protocol):
    """One open transaction: what it wrote is stored when the change function returns, all or nothing.

    The type of an entry, or of the fields, says which rows are meant.
    """

    async def find(self, entry: type[Row], ref: int | str) -> Row | None:
        """Return the row with this id (int), or with this name or provider_key (str); credentials go by id."""

    async def add(self, fields: Fields[Any]) -> int:
        """Store a row and return its id, never given before; raise Conflict on a taken name or key."""

    async def change(self, row_id: int, fields: Fields[Any]) -> None:
        """Store what is set in `fields`; raise Conflict on a taken name or key."""

    async def remove(self, entry: type[Entry], row_id: int) -> None:
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

    async def list(self, entry: type[Row], after: int, limit: int) -> list[Row]:
        """Return up to `limit` rows with ids above `after`, by id."""

    async def find(self, entry: type[Row], ref: int | str) -> Row | None:
        """Return the row with this id (int), or with this name or provider_key (str); credentials go by id."""


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

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        """Return the attempts of a request, in order."""
