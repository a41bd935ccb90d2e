"""Reads what usage records say of a request's parameters."""

from __future__ import annotations

import msgspec

# A provider refuses anything near it; a number that no database column holds is left out.
_LARGEST = 1e6

_decode = msgspec.json.Decoder(float).decode


def temperature_of(raw: msgspec.Raw) -> float | None:
    """Return the temperature that a request states, None if it is not a number that makes sense."""
    try:
        temperature = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The provider says what is wrong with it.
        return None
    return temperature if -_LARGEST <= temperature <= _LARGEST else None
