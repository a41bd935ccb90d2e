"""Values that lists are filtered by: read from text, with errors that name the parameter."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.times import read_time

TIME: Final = "an ISO 8601 time (UTC unless it has an offset) or Unix seconds"


def time_of(name: str, text: str | None) -> int | None:
    """Return the Unix microseconds that the parameter `name` says; raise Unprocessable."""
    try:
        return None if text is None else read_time(text)
    except (ValueError, OverflowError):
        raise Unprocessable(f"{name} must be {TIME}", param=name) from None


def storable(name: str, text: str | None) -> str | None:
    """Return the text of the parameter `name`; raise Unprocessable if no stored text can equal it."""
    if text is not None and "\0" in text:
        raise Unprocessable(f"{name} must not hold a NUL character", param=name)
    return text
