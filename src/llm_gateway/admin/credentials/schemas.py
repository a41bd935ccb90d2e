"""A credential as the admin API takes it and shows it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from llm_gateway.admin.shapes import (
    INT_LIMIT,
    CacheBody,
    ModelName,
    Name,
    UpdateBody,
    WriteAnswer,
    printable_secret,
    shown_cache,
)
from llm_gateway.admin.times import iso_time
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential

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


class CredentialChange(UpdateBody):
    """PUT and PATCH: what is left out stays; a `key` replaces the old one."""

    # A default_factory only says "may be left out": its value is never used.
    key: _Key = Field(default_factory=lambda: SecretStr(""))
    name: Name = Field(default_factory=str)
    allowed_models: _Models | None = None
    rate_limit: _Rate | None = None
    is_enabled: bool = Field(default_factory=bool)
    cache: CacheBody | None = Field(None, description="Caching of its replies; null = the model's rules.")

    def update(self) -> CredentialUpdate:
        given = self.given()
        if "key" in given:
            given["key"] = Secret(self.key.get_secret_value())
        if given.get("allowed_models") is not None:
            given["allowed_models"] = tuple(given["allowed_models"])
        if isinstance(self.cache, CacheBody) and "cache" in given:
            given["cache"] = self.cache.rules()
        return CredentialUpdate(**given)


class NewCredential(CredentialChange):
    """POST."""

    name: Name
    is_enabled: bool = True


class CredentialView(BaseModel):
    """A credential as lists show it."""

    id: int
    name: str
    key_prefix: str = Field(description="The first characters of its key; the key itself is not stored.")
    allowed_models: list[str] | None
    rate_limit: int | None
    is_enabled: bool
    cache: CacheBody | None
    created_at: str
    updated_at: str


class WrittenCredential(CredentialView, WriteAnswer):
    """A credential after a write."""

    key: str = Field(default="", description="The generated key, shown only in this answer.")


class CredentialPage(BaseModel):
    """One page of credentials, by id."""

    data: list[CredentialView]
    next_cursor: str | None


def shown(row: StoredCredential, warnings: list[str]) -> dict[str, Any]:
    """Return a stored credential as an admin sees it; credentials have no warnings."""
    del warnings
    # A list that cannot be read allows nothing.
    models: tuple[str, ...] | None = () if row.allowed_models is UNSET else row.allowed_models
    return msgspec.structs.asdict(row) | {
        "allowed_models": None if models is None else list(models),
        "cache": shown_cache(row.cache),
        "created_at": iso_time(row.created_at),
        "updated_at": iso_time(row.updated_at),
    }
