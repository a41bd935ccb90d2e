"""All settings, read from the environment; only app, cli and server import this room."""

from __future__ import annotations

from dataclasses import dataclass

from llm_gateway.settings.client_apis import ClientApiSettings
from llm_gateway.settings.console import ConsoleSettings
from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.observing import ObservingSettings
from llm_gateway.settings.requests import RequestSettings
from llm_gateway.settings.serving import ServingSettings
from llm_gateway.settings.storage import StorageSettings
from llm_gateway.settings.usage import UsageSettings

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings(
    FirstStartSettings,
    ClientApiSettings,
    ObservingSettings,
    UsageSettings,
    RequestSettings,
    StorageSettings,
    ConsoleSettings,
    ServingSettings,
):
    """One field per environment variable; docs/settings.md lists them."""
