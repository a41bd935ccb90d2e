"""Shapes that all resources share: strict bodies, and the answer to a write."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UnsetType
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.core.times import read_time
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.paging import ID_DIGITS, ID_LIMIT

# The largest value of an integer column in both databases.
INT_LIMIT = 2**31 - 1
# Far above any use, and exact in every reader of JSON.
MOST_TOKENS = 10**15

# Validation of the whole configuration checks the bounds.
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Body(BaseModel):
    """A request's body. Unknown fields and wrong types are rejected, so that a typo changes nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that the client sent, null included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


# Fields that the gateway sets. PUT and PATCH accept them, so that what GET, or an earlier write, returned can be sent
# back: the first two must be those of the row, the others are ignored. `dry_run` is not among them: whoever sends it
# in a body expects that nothing is stored.
_FIXED = ("id", "key_prefix")
_READ_ONLY = frozenset(
    {*_FIXED, "created_at", "updated_at", "warnings", "faults", "config_version", "stale_workers"}
    | {"previous_key_expires_at", "revoked_at", "price_version"}
    | {"counts_from", "spent_usd", "held_usd", "remaining_usd", "reset_at"}
)
READ_ONLY_TEXT = "Set by the gateway; ignored in PUT and PATCH."


class UpdateBody(Body):
    """The body of a write to one resource of the catalog."""

    id: int | None = Field(None, description="Set by the gateway; PUT and PATCH take only the row's own.")
    created_at: str | None = Field(None, description=READ_ONLY_TEXT)
    updated_at: str | None = Field(None, description=READ_ONLY_TEXT)
    faults: list[str] | None = Field(None, description=READ_ONLY_TEXT)
    config_version: int | None = Field(None, description=READ_ONLY_TEXT)
    stale_workers: list[int] | None = Field(None, description=READ_ONLY_TEXT)
    warnings: list[str] | None = Field(None, description=READ_ONLY_TEXT)

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in super().given().items() if name not in _READ_ONLY}

    def fixed(self) -> dict[str, Any]:
        """Return the fields that the client sent and that must be those of the row."""
        return {name: getattr(self, name) for name in _FIXED if name in self.model_fields_set}

    def check_new(self) -> None:
        """Raise Unprocessable for a field of a new row that the gateway sets."""
        for name in sorted(_READ_ONLY & self.model_fields_set):
            raise Unprocessable(f"{name}: is set by the gateway; leave it out", param=name)

    def update(self) -> RowUpdate[Any]:
        """Return what the client sent."""
        raise NotImplementedError


class RowView(BaseModel):
    """What lists show of every row beside its columns."""

    faults: list[str] = Field(
        default=[], description="Why the row is not served as it is stored; absent if it is."
    )
    warnings: list[str] = Field(
        default=[], description="What about the row has no effect, or is ambiguous; absent if nothing is."
    )


class WriteAnswer(BaseModel):
    """What the response to every write holds beside the row."""

    config_version: int = Field(
        description="The version of the configuration in force when the response was sent."
    )
    dry_run: bool = Field(default=False, description="true: the write was checked and not stored.")
    stale_workers: list[int] = Field(
        default=[], description="Process ids of workers on this machine that still use an older version."
    )
    faults: list[str] = Field(
        default=[], description="Why rows that were faulty before still are, this one or others."
    )


def outcome(edited: Edited[Any]) -> dict[str, Any]:
    """Return the fields of a WriteAnswer; empty ones stay unset, which keeps them out of the JSON."""
    values: dict[str, Any] = {"config_version": edited.config_version}
    if edited.dry_run:
        values["dry_run"] = True
    if edited.stale_workers:
        values["stale_workers"] = list(edited.stale_workers)
    if edited.faults:
        values["faults"] = [str(fault) for fault in edited.faults]
    if edited.generated_key is not None:
        values["key"] = edited.generated_key.reveal()
    return values


class Deleted(WriteAnswer):
    """The response to a DELETE."""

    id: int
    deleted: bool = Field(description="False in a dry run.")


def printable(text: str) -> str:
    """Check that `text` can be shown, logged and sent in a header."""
    if not text.isprintable():
        raise ValueError("must hold printable characters only")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    return text


def printable_secret(secret: SecretStr) -> SecretStr:
    """Check a secret like `printable` does; the message never repeats it."""
    printable(secret.get_secret_value())
    return secret


class CacheBody(Body):
    """Exact-match caching of replies."""

    is_enabled: bool = True
    ttl: Seconds | None = Field(
        None, description="Seconds that a reply stays cached; null for the gateway's setting."
    )
    is_shared: bool = Field(False, description="Share cached replies between credentials.")

    def rules(self) -> CacheRules:
        return CacheRules(**self.model_dump())


def shown_cache(rules: CacheRules | UnsetType | None) -> CacheBody | None:
    """Return stored rules as an admin sees them; None if there are none or they cannot be read."""
    return CacheBody(**msgspec.structs.asdict(rules)) if isinstance(rules, CacheRules) else None


_Count = Annotated[int, Field(ge=0, le=INT_LIMIT)]
_Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class LimitsBody(Body):
    """Limits of use. What is null or left out is unlimited; 0 allows nothing."""

    requests_per_second: _Count | None = Field(None, description="Requests in any second.")
    requests_per_minute: _Count | None = Field(None, description="Requests in any 60 seconds.")
    requests_per_day: _Count | None = Field(None, description="Requests in a calendar day of `TIME_ZONE`.")
    tokens_per_minute: _Tokens | None = Field(
        None, description="Tokens of prompts and replies in any 60 seconds."
    )
    tokens_per_day: _Tokens | None = Field(
        None, description="Tokens of prompts and replies in a calendar day of `TIME_ZONE`."
    )
    concurrent_requests: _Count | None = Field(None, description="Requests in flight at the same time.")

    def limits(self) -> Limits:
        return Limits(**self.model_dump())


def shown_limits(limits: Limits | UnsetType | None) -> LimitsBody | None:
    """Return stored limits as an admin sees them; None if there are none or they cannot be read."""
    # Not validated: what someone wrote by SQL is shown with its fault, and can be repaired.
    return (
        LimitsBody.model_construct(**msgspec.structs.asdict(limits)) if isinstance(limits, Limits) else None
    )


def _time(text: str) -> str:
    try:
        read_time(text)
    except (ValueError, OverflowError):
        raise ValueError("must be a time in ISO 8601, such as 2026-12-31T18:00:00Z") from None
    return text


# In ISO 8601; UTC without an offset.
Time = Annotated[str, Field(max_length=64), AfterValidator(_time)]

Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
ModelName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(printable)]


def read_id(text: str, resource: str) -> int:
    """Return the id in a path; raise NotFound when it cannot be one."""
    if text.isascii() and text.isdigit() and len(text) <= ID_DIGITS and int(text) <= ID_LIMIT:
        return int(text)
    raise NotFound(f"There is no {resource} {text!r}")


def read_ref(text: str, resource: str) -> int | str:
    """Return the id or the name in a path; text of digits only is an id. Raise NotFound for an impossible one."""
    if text.isdigit() or not text.isprintable():
        return read_id(text, resource)
    return text
