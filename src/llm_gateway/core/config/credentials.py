"""Credentials: the keys that clients send, and what they may do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from llm_gateway.core.config.cache_rules import CacheRules, cache_faults
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.limits import Limits, limits_faults

Refused = Literal["revoked", "disabled", "expired"]


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A client's key, known only by its keyed hash."""

    id: int
    name: str
    key_hash: bytes
    # None = all models, () = none; may hold globs.
    allowed_models: tuple[str, ...] | None = None
    # Requests per second; None = unlimited, 0 = none.
    rate_limit: int | None = None
    is_enabled: bool = True
    # None = the model's rules.
    cache: CacheRules | None = None
    # Names of a tenant and a project.
    tenant: str | None = None
    project: str | None = None
    limits: Limits | None = None
    # What each agent and each user may use that requests of this credential name.
    agent_limits: Limits | None = None
    user_limits: Limits | None = None
    # Whether the names of agents and users that its requests state are believed.
    trusts_attribution: bool = False
    # Whether requests to models without a known price are refused.
    require_pricing: bool = False
    # Unix microseconds; the key is refused from then on.
    expires_at: int | None = None
    # The key before the last rotation, which is accepted until then.
    previous_key_hash: bytes | None = None
    previous_key_expires_at: int | None = None
    revoked_at: int | None = None

    def why_refused(self, now: int) -> Refused | None:
        """Return why its keys are refused at `now`, None if they are not. Ignores its tenant and project."""
        if self.revoked_at is not None:
            return "revoked"
        if not self.is_enabled:
            return "disabled"
        return "expired" if self.expires_at is not None and self.expires_at <= now else None


def credential_faults(credential: Credential) -> list[Fault]:
    """Return everything that is wrong with one credential."""
    return [
        Fault("credential", credential.name, field, message, credential.id)
        for field, message in _faults(credential)
    ]


def _faults(credential: Credential) -> Iterator[tuple[str, str]]:
    if credential.rate_limit is not None and credential.rate_limit < 0:
        yield "rate_limit", "rate_limit must be 0 or more, or null"
    yield from cache_faults(credential.cache)
    for field in ("limits", "agent_limits", "user_limits"):
        yield from limits_faults(field, getattr(credential, field))
