"""Pages of a list, and the opaque cursors that clients continue with."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from llm_gateway.core.errors import Unprocessable

Item = TypeVar("Item")
# What both stores hold as a row's id.
ID_LIMIT = 2**63 - 1
ID_DIGITS = 19


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list; `next_cursor` is None on the last one."""

    items: list[Item]
    next_cursor: str | None


def cut_page(items: list[Item], limit: int, place: Callable[[Item], str]) -> Page[Item]:
    """Return a page of `items`, which holds one item more than `limit` when there is a next page.

    `place` renders an item's place in the list; the next page starts after it.
    """
    kept = items[:limit]
    return Page(kept, make_cursor(place(kept[-1])) if len(items) > limit else None)


def make_cursor(place: str) -> str:
    """Return `place` in a form that clients treat as opaque."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the place in a cursor; raise Unprocessable for one that the gateway never made."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor() from None


def bad_cursor() -> Unprocessable:
    """Return the error for an invalid cursor."""
    return Unprocessable("cursor must be the next_cursor of a page of this list", param="cursor")


def id_after(cursor: str | None) -> int:
    """Return the id after which a list by id continues, 0 for its start; raise Unprocessable."""
    if cursor is None:
        return 0
    place = read_cursor(cursor)
    if not (place.isascii() and place.isdigit() and len(place) <= ID_DIGITS and int(place) <= ID_LIMIT):
        raise bad_cursor()
    return int(place)
