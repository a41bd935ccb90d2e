"""A credential as the admin API takes it and shows it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from llm_gateway.admin.shapes import (
    INT_LIMIT,
    Body,
    CacheBody,
    ModelName,
    Name,
    WriteAnswer,
    outcome,
    printable_secret,
    shown_cache,
)
from llm_gateway.admin.times import iso_time
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import Edited, NewCredential
from llm_gateway.flow.config.rows import CredentialEntry, CredentialFields

_Key = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=256,
        description="The client's key. Left out: one is made, and shown this once.",
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


class CredentialChange(Body):
    """PUT and PATCH: what is left out stays; a `key` replaces the old one."""

    # A default_factory only says "may be left out": what it makes is never looked at.
    key: _Key = Field(default_factory=lambda: SecretStr(""))
    name: Name = Field(default_factory=str)
    allowed_models: _Models | None = None
    rate_limit: _Rate | None = None
    is_enabled: bool = Field(default_factory=bool)
    cache: CacheBody | None = Field(None, description="Caching of its replies; null = what the model says.")

    def fields(self) -> CredentialFields:
        """Return what the client sent, without the key."""
        given = self.given()
        given.pop("key", None)
        if given.get("allowed_models") is not None:
            given["allowed_models"] = tuple(given["allowed_models"])
        if isinstance(self.cache, CacheBody) and "cache" in given:
            given["cache"] = self.cache.rules()
        return CredentialFields(**given)

    def secret(self) -> Secret | None:
        """Return the key that the client sent, None when it sent none."""
        return Secret(self.key.get_secret_value()) if "key" in self.model_fields_set else None


class CredentialToCreate(CredentialChange):
    """POST."""

    name: Name
    is_enabled: bool = True


class CredentialView(BaseModel):
    """A credential as lists show it."""

    id: int
    name: str
    key_prefix: str = Field(description="How its key begins; the key itself is not stored.")
    allowed_models: list[str] | None
    rate_limit: int | None
    is_enabled: bool
    cache: CacheBody | None
    created_at: str
    updated_at: str


class WrittenCredential(CredentialView, WriteAnswer):
    """A credential, and what its change led to."""

    key: str = Field(default="", description="The key that was made: keep it, it is shown this once.")


class CredentialPage(BaseModel):
    """One page of credentials, by id."""

    data: list[CredentialView]
    next_cursor: str | None


def view(entry: CredentialEntry) -> CredentialView:
    """Return what may be shown of a stored credential."""
    return CredentialView(**_values(entry))


def written(edited: Edited[CredentialEntry]) -> WrittenCredential:
    """Return the answer to a write."""
    return WrittenCredential(**_values(edited.entry), **outcome(edited))


def written_with_key(edited: Edited[NewCredential]) -> WrittenCredential:
    """Return the answer to a write that may have made a key."""
    made = edited.entry
    values = _values(made.entry) | outcome(edited)
    if made.key is not None:
        values["key"] = made.key.reveal()
    return WrittenCredential(**values)


def _values(entry: CredentialEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in entry.__struct_fields__}
    times = {"created_at": iso_time(entry.created_at), "updated_at": iso_time(entry.updated_at)}
    # One that cannot be read allows nothing.
    models: tuple[str, ...] | None = () if entry.allowed_models is UNSET else entry.allowed_models
    return (
        values
        | times
        | {"allowed_models": None if models is None else list(models), "cache": shown_cache(entry.cache)}
    )
