"""Stored providers, what an admin may set on them, and how a masked secret is told from a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.providers import ClientCredentials, Kind
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow


class StoredProvider(StoredRow, frozen=True, kw_only=True):
    """A provider as it is stored."""

    resource: ClassVar[str] = "provider"

    provider_key: str
    provider_type: str
    api_base: str
    # Masked, or `env:NAME`; None when it has none.
    api_key: str | None
    model_mapping: dict[str, str] | UnsetType
    weight: int | UnsetType
    is_enabled: bool | UnsetType
    oauth2: ClientCredentials | UnsetType | None = None
    api_version: str | None = None
    stream_usage: bool | UnsetType | None = None
    probe_interval: float | UnsetType | None = None
    price_provider: str | None = None

    @property
    def name_or_key(self) -> str:
        return self.provider_key


class ProviderUpdate(RowUpdate[StoredProvider], frozen=True, kw_only=True):
    """What an admin may set on a provider."""

    stored: ClassVar[type[StoredRow]] = StoredProvider

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
    price_provider: str | UnsetType | None = UNSET


def prepare_new_provider(update: ProviderUpdate, kinds: Mapping[str, Kind]) -> ProviderUpdate:
    """Fill in the kind's default `api_base`; raise Unprocessable when there is none, or for a masked secret."""
    _reject_mask(update)
    if update.api_base is not UNSET:
        return update
    kind = kinds.get(str(update.provider_type))
    if kind is not None and kind.default_api_base is None:
        raise Unprocessable("api_base is required: this provider_type has no default", param="api_base")
    # Validation of the whole catalog reports an unknown type.
    return msgspec.structs.replace(update, api_base=kind.default_api_base if kind else "")


def keep_masked_secret(update: ProviderUpdate, before: StoredProvider) -> ProviderUpdate:
    """Keep the stored secret when it is sent back masked; raise Unprocessable for any other mask."""
    if isinstance(update.secret, Secret) and update.secret.reveal() == before.api_key:
        return msgspec.structs.replace(update, secret=UNSET)
    _reject_mask(update)
    return update


def _reject_mask(update: ProviderUpdate) -> None:
    if isinstance(update.secret, Secret) and update.secret.reveal().startswith("***"):
        raise Unprocessable(
            "api_key is a masked value, as lists show it: send the real one, or leave it out to keep the old one",
            param="api_key",
        )
