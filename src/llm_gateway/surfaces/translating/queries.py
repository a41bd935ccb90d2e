"""Reads the query parameters of lists and totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.times import read_time

_MOST_FIELDS: Final = 100
_SHOWN: Final = 100


def read_query(query: bytes, known: Sequence[str]) -> dict[str, str]:
    """Return the query's parameters; raise Unprocessable for one that is not known, or that cannot be stored."""
    asked: dict[str, str] = {}
    try:
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Unprocessable(f"The query has more than {_MOST_FIELDS} parameters; leave some out") from None
    for name, value in given:
        if name not in known:
            message = f"{name[:_SHOWN]!r} is not a parameter of this list; use one of: {', '.join(known)}"
            raise Unprocessable(message, param=name[:_SHOWN])
        if "\0" in value:
            raise Unprocessable(f"{name} must not hold a NUL character", param=name)
        asked[name] = value
    return asked


def time_in(asked: dict[str, str], name: str) -> int | None:
    """Return a time as Unix microseconds, None without one; raise Unprocessable if it is not a time."""
    text = asked.get(name)
    try:
        return None if text is None else read_time(text)
    except (ValueError, OverflowError):
        message = f"{name} must be an ISO 8601 time (UTC unless it has an offset) or Unix seconds"
        raise Unprocessable(message, param=name) from None
