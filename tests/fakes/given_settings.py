"""Settings as variables give them, without this machine's environment."""

from __future__ import annotations

from llm_gateway.settings import Settings
from llm_gateway.settings.reading import read_settings


def given_settings(**values: object) -> Settings:
    """Return what variables of these names say; None is unset. Raises InvalidSettings."""
    return read_settings(
        Settings, {name.upper(): str(value) for name, value in values.items() if value is not None}
    )
