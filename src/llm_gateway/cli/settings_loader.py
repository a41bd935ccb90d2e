"""Loads the settings of the process."""

from __future__ import annotations

from llm_gateway.settings import Settings
from llm_gateway.settings.reading import InvalidSettings, read_settings
from llm_gateway.settings.variables import setting_variables

__all__ = ["InvalidSettings", "load_settings"]


def load_settings() -> Settings:
    """Return the settings from the environment and `.env`; raise InvalidSettings."""
    try:
        variables = setting_variables()
    except OSError as error:
        raise InvalidSettings((f"cannot read the file .env: {error.strerror}.",)) from None
    except UnicodeDecodeError:
        raise InvalidSettings(("the file .env is not UTF-8 text.",)) from None
    return read_settings(Settings, variables)
