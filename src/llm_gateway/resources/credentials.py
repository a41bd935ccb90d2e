"""A credential as the admin API and the console take it and show it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from llm_gateway.core.secret import Secret
from llm_gateway.core.times import read_time
from llm_gateway.flow.config.rows.credentials import (
    DEFAULT_OVERLAP,
    LONGEST_OVERLAP,
    CredentialUpdate,
    StoredCredential,
)
from llm_gateway.resources.shapes import (
    INT_LIMIT,
    READ_ONLY_TEXT,
    Body,
    CacheBody,
    LimitsBody,
    ModelName,
    Name,
    RowView,
    Time,
    UpdateBody,
    WriteAnswer,
    printable_secret,
    shown_cache,
    shown_limits,
)
from llm_gateway.resources.times import shown_time

_Key = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=256,
        description="The client's key. Left out: one is generated, and shown this once.",
    ),
    AfterValidator(printable_secret),
]
_Models = Annotated[
    list[ModelName],
    Field(max_length=10_000, description="Models it may use, globs too; null or left out = all, [] = none."),
]
_Rate = Annotated[
    int,
    Field(ge=0, le=INT_LIMIT, description="Requests per second; 0 blocks all, null or left out = unlimited."),
]
_TRUST = "Whether the agents and users that its requests name are believed, so that their limits and budgets apply."
_PRICING = "Whether models without a known price are refused."


class CredentialChange(UpdateBody):
    """PUT and PATCH: what is left out stays; a `key` replaces the old one."""

    # A default_factory only says "may be left out": its value is never used.
    key: _Key = Field(default_factory=lambda: SecretStr(""))
    name: Name = Field(default_factory=str)
    allowed_models: _Models | None = None
    rate_limit: _Rate | None = None
    is_enabled: bool = Field(default_factory=bool)
    cache: CacheBody | None = Field(None, description="Caching of its replies; null = the model's rules.")
    tenant: Name | None = Field(None, description="The name of its tenant; null = none, or its project's.")
    project: Name | None = Field(
        None, description="The name of its project; null = none. A project's tenant is the credential's, too."
    )
    limits: LimitsBody | None = Field(None, description="Limits of this credential; null = unlimited.")
    agent_limits: LimitsBody | None = Field(
        None,
        description="Limits of each agent that its requests name, if `trusts_attribution` is true; null = unlimited.",
    )
    user_limits: LimitsBody | None = Field(
        None,
        description="Limits of each user that its requests name, if `trusts_attribution` is true; null = unlimited.",
    )
    trusts_attribution: bool = Field(
        default_factory=bool,
        description=_TRUST,
    )
    require_pricing: bool = Field(default_factory=bool, description=_PRICING)
    expires_at: Time | None = Field(None, description="Its keys are refused from then on; null = never.")
    key_prefix: str | None = Field(None, description="Set by the gateway, like `id`.")
    previous_key_expires_at: str | None = Field(None, description=READ_ONLY_TEXT)
    revoked_at: str | None = Field(None, description=READ_ONLY_TEXT)

    def update(self) -> CredentialUpdate:
        given = self.given()
        if "key" in given:
            given["key"] = Secret(self.key.get_secret_value())
        if given.get("allowed_models") is not None:
            given["allowed_models"] = tuple(given["allowed_models"])
        if isinstance(self.cache, CacheBody) and "cache" in given:
            given["cache"] = self.cache.rules()
        for name in _LIMITS & given.keys():
            if given[name] is not None:
                given[name] = given[name].limits()
        if given.get("expires_at") is not None:
            given["expires_at"] = read_time(given["expires_at"])
        return CredentialUpdate(**given)


_LIMITS = frozenset({"limits", "agent_limits", "user_limits"})


class NewCredential(CredentialChange):
    """POST."""

    name: Name
    is_enabled: bool = True


class Rotation(Body):
    """How a key is replaced."""

    key: _Key | None = Field(None, description="The new key; null or left out: one is generated.")
    overlap: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP)] = Field(
        DEFAULT_OVERLAP, description="Seconds during which the old key works, too; 0 for not at all."
    )


class CredentialView(RowView):
    """A credential as lists show it."""

    id: int
    name: str
    key_prefix: str = Field(description="The first characters of its key; the key itself is not stored.")
    allowed_models: list[str] | None = Field(
        description="Models it may use, globs too; null = all, [] = none."
    )
    rate_limit: int | None = Field(description="Requests per second; 0 blocks all, null = unlimited.")
    is_enabled: bool
    cache: CacheBody | None
    tenant: str | None
    project: str | None
    limits: LimitsBody | None = Field(description="null = unlimited.")
    agent_limits: LimitsBody | None = Field(
        description="Of each agent that its requests name; null = unlimited."
    )
    user_limits: LimitsBody | None = Field(
        description="Of each user that its requests name; null = unlimited."
    )
    trusts_attribution: bool = Field(description=_TRUST)
    require_pricing: bool = Field(description=_PRICING)
    expires_at: str | None = Field(description="Its keys are refused from then on; null = never.")
    previous_key_expires_at: str | None = Field(
        description="Until when the previous key works; null: there is none."
    )
    revoked_at: str | None = Field(description="When its keys were destroyed; null: they were not.")
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None


class WrittenCredential(CredentialView, WriteAnswer):
    """A credential after a write."""

    key: str = Field(default="", description="The generated key, shown only in this answer.")


class CredentialPage(BaseModel):
    """One page of credentials, by id."""

    data: list[CredentialView]
    next_cursor: str | None


def shown(row: StoredCredential, warnings: list[str]) -> dict[str, Any]:
    """Return a stored credential as an admin sees it; warnings only if there are any."""
    # A list or a limit that cannot be read allows nothing.
    models: tuple[str, ...] | None = () if row.allowed_models is UNSET else row.allowed_models
    return msgspec.structs.asdict(row) | {
        "allowed_models": None if models is None else list(models),
        "rate_limit": 0 if row.rate_limit is UNSET else row.rate_limit,
        "is_enabled": row.is_enabled is True,
        "cache": shown_cache(row.cache),
        **{name: shown_limits(getattr(row, name)) for name in _LIMITS},
        "trusts_attribution": row.trusts_attribution is True,
        "require_pricing": row.require_pricing is True,
        **{name: _shown_time(getattr(row, name)) for name in _TIMES},
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        **({"warnings": warnings} if warnings else {}),
    }


_TIMES = ("expires_at", "previous_key_expires_at", "revoked_at")


def _shown_time(stored: int | UnsetType | None) -> str | None:
    return None if stored is None else shown_time(stored)
