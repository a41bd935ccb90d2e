"""The variables of the environment and of `.env`: what settings say, and what provider keys may name."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from llm_gateway.core.secret import Secret
from llm_gateway.settings.first_start import FirstStartSettings

_ENV_FILE: Final = Path(".env")


def setting_variables() -> dict[str, str]:
    """Return what may be settings, by upper-case name; raise OSError or UnicodeDecodeError for `.env`."""
    found: dict[str, str] = {}
    # A pipe gives its lines once: password managers serve `.env` in this way.
    lines = _lines() if _ENV_FILE.is_file() or _ENV_FILE.is_fifo() else {}
    for variables in (lines, os.environ):
        # Where a name is written in two ways, the one in upper case counts.
        for name in sorted(filter(str.isascii, variables), key=str.isupper):
            if text := variables[name]:
                found[name.upper()] = text
    return found


def named_variables(settings: FirstStartSettings) -> Mapping[str, str]:
    """Return the variables by name. Keys among the settings come without what surrounds them, as settings do."""
    keys = {
        field.name.upper(): value.reveal()
        for field in fields(FirstStartSettings)
        if isinstance(value := getattr(settings, field.name), Secret)
    }
    try:
        lines = _lines() if _ENV_FILE.is_file() else {}
    except (OSError, UnicodeDecodeError):
        # It was there when the settings were read, or they have reported it.
        lines = {}
    # A variable that is blank in the environment counts as unset, so that the line of the file is used.
    lines = {name: text for name, text in lines.items() if not os.environ.get(name, "").strip()}
    return ChainMap(keys, lines, dict(os.environ))


def _lines() -> dict[str, str]:
    # Imported on demand: few gateways have this file.
    from dotenv import dotenv_values  # noqa: PLC0415

    return {name: text for name, text in dotenv_values(_ENV_FILE, encoding="utf-8-sig").items() if text}
