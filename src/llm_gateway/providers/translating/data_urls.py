"""Splits data URLs, in linear time and without copying more than their data."""

from __future__ import annotations

_SCHEME = "data:"
_BASE64 = ";base64"


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type, in lower case and without parameters, and the base64 data; None for anything else."""
    if url[: len(_SCHEME)].lower() != _SCHEME:
        return None
    comma = url.find(",")
    if comma < 0 or url[comma - len(_BASE64) : comma].lower() != _BASE64:
        return None
    end = url.find(";", 0, comma)
    return url[len(_SCHEME) : end].strip().lower(), url[comma + 1 :]
