"""Shapes that all resources share: strict request bodies, paging parameters, and the response to a write."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query
from msgspec import UnsetType
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.errors import NotFound
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.paging import ID_LIMIT

PAGE_SIZE = 100
# The largest value of an integer column in both databases.
INT_LIMIT = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=1000, description="Rows per page, at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, description="`next_cursor` of the previous page; omit it for the first page."),
]


# Validation of the whole configuration checks the bounds.
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Body(BaseModel):
    """A request's body. Unknown fields and wrong types are rejected, so that a typo changes nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that the client sent, null included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class UpdateBody(Body):
    """The body of a write to one resource of the catalog."""

    def update(self) -> RowUpdate[Any]:
        """Return what the client sent."""
        raise NotImplementedError


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
        default=[], description="Why the stored configuration is still rejected, if it was invalid before."
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


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
ModelName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(printable)]


def read_id(text: str, resource: str) -> int:
    """Return the id in a path; raise NotFound when it cannot be one."""
    if text.isascii() and text.isdigit() and int(text) <= ID_LIMIT:
        return int(text)
    raise NotFound(f"There is no {resource} {text!r}")


def read_ref(text: str, resource: str) -> int | str:
    """Return the id or the name in a path; text of digits only is an id. Raise NotFound for an impossible one."""
    if text.isdigit() or not text.isprintable():
        return read_id(text, resource)
    return text
