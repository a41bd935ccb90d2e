"""Stored credentials, what an admin may set on them, and how keys are made and shown."""

from __future__ import annotations

import secrets
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import Conflict
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow
from llm_gateway.flow.ports.catalog import KeyHasher

_KEY_BEGINS = "sk-"
# As many as KeyHasher returns.
_HASH_BYTES = 32
# Seconds that a key stays valid after it was replaced: by default, and at most.
DEFAULT_OVERLAP = 86_400
LONGEST_OVERLAP = 30 * 86_400


class StoredCredential(StoredRow, frozen=True, kw_only=True):
    """A credential as it is stored."""

    resource: ClassVar[str] = "credential"

    name: str
    key_prefix: str
    allowed_models: tuple[str, ...] | UnsetType | None
    rate_limit: int | UnsetType | None
    is_enabled: bool | UnsetType
    cache: CacheRules | UnsetType | None = None
    tenant: str | None = None
    project: str | None = None
    limits: Limits | UnsetType | None = None
    agent_limits: Limits | UnsetType | None = None
    user_limits: Limits | UnsetType | None = None
    trusts_attribution: bool | UnsetType = False
    require_pricing: bool | UnsetType = False
    # Unix microseconds.
    expires_at: int | UnsetType | None = None
    previous_key_expires_at: int | UnsetType | None = None
    revoked_at: int | UnsetType | None = None

    @property
    def name_or_key(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        # Old rows may share a name.
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
    # None = of no tenant, of no project.
    tenant: str | UnsetType | None = UNSET
    project: str | UnsetType | None = UNSET
    # None = unlimited.
    limits: Limits | UnsetType | None = UNSET
    agent_limits: Limits | UnsetType | None = UNSET
    user_limits: Limits | UnsetType | None = UNSET
    trusts_attribution: bool | UnsetType = UNSET
    require_pricing: bool | UnsetType = UNSET
    # None = never.
    expires_at: int | UnsetType | None = UNSET
    # Set by the verbs rotate and revoke alone.
    previous_key_hash: bytes | UnsetType | None = UNSET
    previous_key_expires_at: int | UnsetType | None = UNSET
    revoked_at: int | UnsetType = UNSET


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


def check_not_revoked(update: CredentialUpdate, before: StoredCredential) -> None:
    """Raise Conflict if `update` would bring a revoked credential back."""
    revives = update.is_enabled is True or update.key is not UNSET
    if revives and before.revoked_at is not None:
        raise Conflict(
            f"{before.label} was revoked, which is final: create another credential",
            param="is_enabled" if update.key is UNSET else "key",
        )


def rotation(key: Secret, current_hash: bytes, overlap: int, now_us: int) -> CredentialUpdate:
    """Return the update to the new `key`; the current one stays valid for `overlap` seconds.

    The key before the current one, if it was valid still, is no longer.
    """
    keeps = overlap > 0 and bool(current_hash)
    return CredentialUpdate(
        key=key,
        previous_key_hash=current_hash if keeps else None,
        previous_key_expires_at=now_us + overlap * 1_000_000 if keeps else None,
    )


def revocation(now_us: int) -> CredentialUpdate:
    """Return the update that destroys the hashes of both keys: no key has the new one."""
    return CredentialUpdate(
        key_hash=secrets.token_bytes(_HASH_BYTES),
        previous_key_hash=None,
        previous_key_expires_at=None,
        is_enabled=False,
        revoked_at=now_us,
    )
