"""Times of stored rows as they are shown."""

from __future__ import annotations

from msgspec import UnsetType

from llm_gateway.core.times import iso_time


def shown_time(stored: int | UnsetType) -> str | None:
    """Return a stored time as lists show it; None if what is stored cannot be read as one."""
    try:
        return None if isinstance(stored, UnsetType) else iso_time(stored)
    except OverflowError:
        return None
