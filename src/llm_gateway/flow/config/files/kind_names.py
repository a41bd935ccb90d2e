"""Which provider kind an address and a name are likely to mean, where a file does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from llm_gateway.core.config.providers import Kind

_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal", "ollama"})
_OLLAMA_PORT: Final = 11434
_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# Kinds with a format of their own: a name alone does not say that a server at another address speaks it.
_OTHER_FORMATS: Final = frozenset({"anthropic", "gemini", "azure", "simulated"})
_NAMES: Final = {"claude": "anthropic", "google": "gemini"}


def likely_kind(name: str, api_base: str | None, kinds: Mapping[str, Kind]) -> str:
    """Return the kind of a provider called `name` at `api_base`; without an address the name alone decides."""
    named = _NAMES.get(name.lower(), name.lower())
    if api_base is None:
        return named if named in kinds else "openai"
    try:
        parts = urlsplit(api_base)
        host, port = (parts.hostname or ""), parts.port
    except ValueError:
        # The URL is refused when it is stored.
        return "openai"
    if parts.scheme == "simulated":
        return "simulated"
    if host.endswith(_AZURE):
        return "azure"
    for kind in kinds.values():
        own = None if kind.default_api_base is None else urlsplit(kind.default_api_base).hostname
        if own is not None and own == host and own not in _OWN_HOSTS:
            return kind.name
    if named in kinds and named not in _OTHER_FORMATS:
        return named
    return "ollama" if port == _OLLAMA_PORT and "ollama" in kinds else "openai"
