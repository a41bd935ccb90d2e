"""Stored credentials, what an admin may set on them, and how keys are made and shown."""

from __future__ import annotations

import secrets
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow
from llm_gateway.flow.ports.catalog import KeyHasher

_KEY_BEGINS = "sk-"


class StoredCredential(StoredRow, frozen=True, kw_only=True):
    """A credential as it is stored."""

    resource: ClassVar[str] = "credential"

    name: str
    key_prefix: str
    allowed_models: tuple[str, ...] | UnsetType | None
    rate_limit: int | None
    is_enabled: bool
    cache: CacheRules | UnsetType | None = None

    @property
    def name_or_key(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        # Names of credentials are not unique.
        return f"credential {self.id} {self.name!r}"


class CredentialUpdate(RowUpdate[StoredCredential], frozen=True, kw_only=True):
    """What an admin may set on a credential."""

    stored: ClassVar[type[StoredRow]] = StoredCredential

    name: str | UnsetType = UNSET
    # The key itself, which the editor replaces by the next two.
    key: Secret | UnsetType = UNSET
    key_hash: bytes | UnsetType = UNSET
    key_prefix: str | UnsetType = UNSET
    # None = all models.
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    # None = unlimited.
    rate_limit: int | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    # None = the model's rules.
    cache: CacheRules | UnsetType | None = UNSET


def hash_key(update: CredentialUpdate, hasher: KeyHasher) -> CredentialUpdate:
    """Replace the key in `update`, if there is one, by its hash and its prefix."""
    if not isinstance(update.key, Secret):
        return update
    text = update.key.reveal()
    return msgspec.structs.replace(update, key=UNSET, key_hash=hasher.hash(text), key_prefix=key_prefix(text))


def key_prefix(key: str) -> str:
    """Return what lists show of a client's key: at most 8 characters, and never more than a third of it."""
    return key[: min(8, len(key) // 3)]


def generate_key() -> Secret:
    """Return a fresh key."""
    # 32 random bytes are 43 URL-safe characters.
    return Secret(_KEY_BEGINS + secrets.token_urlsafe(32))


def without_generated_prefix(row: StoredCredential) -> StoredCredential:
    """Return `row` as a dry run shows it: of a generated key only the part that all of them share."""
    return msgspec.structs.replace(row, key_prefix=_KEY_BEGINS)
