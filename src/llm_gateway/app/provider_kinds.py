"""The provider kinds of this process: those that are built in, and those of plug-ins, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from llm_gateway.core.config.providers import Kind
from llm_gateway.infra.provider_plugins import load_provider_plugins
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.registry import ADAPTERS, KINDS


@cache
def provider_adapters() -> Mapping[str, Adapter]:
    """Return all adapters by kind. The first call imports the plug-ins; raise StartupError for unusable ones."""
    plugins = load_provider_plugins(ADAPTERS)
    return MappingProxyType({**ADAPTERS, **plugins}) if plugins else ADAPTERS


@cache
def provider_kinds() -> Mapping[str, Kind]:
    """Return all kinds by name; raises as `provider_adapters` does."""
    adapters = provider_adapters()
    if adapters is ADAPTERS:
        return KINDS
    return MappingProxyType({name: adapter.kind for name, adapter in adapters.items()})
