"""What all slices have in common: strict bodies, pages, and how the answer to a write looks."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec
from fastapi import Query
from msgspec import UnsetType
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from llm_gateway.core.config.catalog import CacheRules
from llm_gateway.core.errors import NotFound, Unprocessable
from llm_gateway.flow.config.editor import Edited

PAGE_SIZE = 100
# What both stores keep as an integer.
INT_LIMIT = 2**31 - 1
_ID_LIMIT = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=1000, description="Rows a page holds at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, description="Where to go on: the last page's `next_cursor`. None starts anew."),
]


# Bounds are judged with the whole configuration; a number is all that has to be known here.
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Body(BaseModel):
    """A request's body: unknown fields and other types are refused, so that a typo changes nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that the client sent, null included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class WriteAnswer(BaseModel):
    """What every write says beside the row itself."""

    config_version: int = Field(description="The configuration in force when this was answered.")
    stale_workers: list[int] = Field(
        default=[], description="Process ids of workers of this machine that do not have it yet, if any."
    )
    faults: list[str] = Field(
        default=[], description="Why the stored configuration is still not served, if it was broken before."
    )


def outcome(edited: Edited[Any]) -> dict[str, Any]:
    """Return the fields of a WriteAnswer; those that have nothing to say stay unset, and so out of the JSON."""
    values: dict[str, Any] = {"config_version": edited.config_version}
    if edited.stale_workers:
        values["stale_workers"] = list(edited.stale_workers)
    if edited.faults:
        values["faults"] = list(edited.faults)
    return values


class Deleted(WriteAnswer):
    """The answer to a DELETE."""

    id: int
    deleted: bool

    @classmethod
    def of(cls, edited: Edited[Any]) -> Deleted:
        """Return the answer for the row that is gone."""
        return cls(id=edited.entry.id, deleted=True, **outcome(edited))


def printable(text: str) -> str:
    """Check that `text` can be shown, logged and put in a header's place."""
    if not text.isprintable():
        raise ValueError("must hold printable characters only")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    return text


def printable_secret(secret: SecretStr) -> SecretStr:
    """Check a secret likewise; the message never repeats it."""
    printable(secret.get_secret_value())
    return secret


class CacheBody(Body):
    """Exact-match caching of replies."""

    is_enabled: bool = True
    ttl: Seconds | None = Field(None, description="Seconds a reply is kept; null = the gateway's setting.")
    is_shared: bool = Field(False, description="One cache for all credentials instead of one for each.")

    def rules(self) -> CacheRules:
        """Return the value."""
        return CacheRules(**self.model_dump())


def shown_cache(rules: CacheRules | UnsetType | None) -> CacheBody | None:
    """Return what an admin sees of stored rules; null for those that cannot be read, too."""
    return CacheBody(**msgspec.structs.asdict(rules)) if isinstance(rules, CacheRules) else None


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
ModelName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(printable)]


def read_id(text: str, noun: str) -> int:
    """Return the id in a path; raise NotFound when it cannot be one."""
    if text.isascii() and text.isdigit() and int(text) <= _ID_LIMIT:
        return int(text)
    raise NotFound(f"There is no {noun} {text!r}")


def read_ref(text: str, noun: str) -> int | str:
    """Return the id in a path, or the name that stands in its place: what is all digits is an id."""
    if text.isdigit() or not text.isprintable():
        return read_id(text, noun)
    return text


def make_cursor(place: str) -> str:
    """Return `place` in a form that clients take for opaque."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the place in a cursor; raise Unprocessable when we never made it."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def bad_cursor() -> Unprocessable:
    """Return the error for a cursor that is none."""
    return Unprocessable("cursor must be the next_cursor of a page of this list", param="cursor")


def id_after(cursor: str | None) -> int:
    """Return the id that a list by id goes on after, 0 for its start; raise Unprocessable."""
    if cursor is None:
        return 0
    place = read_cursor(cursor)
    if not (place.isascii() and place.isdigit() and int(place) <= _ID_LIMIT):
        raise bad_cursor()
    return int(place)
