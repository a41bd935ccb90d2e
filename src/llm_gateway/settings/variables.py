"""The variables that provider keys may name: those of the environment, and of `.env` as the settings read it."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from llm_gateway.settings.first_start import FirstStartSettings


def named_variables(settings: FirstStartSettings) -> Mapping[str, str]:
    """Return the variables by name. Keys among the settings come without what surrounds them, as settings do."""
    keys = {
        name.upper(): value.get_secret_value()
        for name in FirstStartSettings.model_fields
        if isinstance(value := getattr(settings, name), SecretStr)
    }
    # A variable that is blank in the environment counts as unset, so that the line of the file is used.
    lines = {name: text for name, text in _lines().items() if not os.environ.get(name, "").strip()}
    return ChainMap(keys, lines, dict(os.environ))


def _lines() -> dict[str, str]:
    if not Path(".env").is_file():
        return {}
    # Imported on demand: few gateways have this file, and those have imported it for their settings.
    from dotenv import dotenv_values  # noqa: PLC0415

    try:
        found = dotenv_values(".env", encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        # It was there when the settings were read, or they have reported it.
        return {}
    return {name: text for name, text in found.items() if text}
