"""Every provider kind there is: a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_gateway.core.config.providers import Kind
from llm_gateway.providers.anthropic.kind import ANTHROPIC
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.providers.openai.azure import AZURE, AzureAdapter
from llm_gateway.providers.openai.presets import OPENAI, PRESETS
from llm_gateway.providers.openai.simulated import SIMULATED, SimulatedAdapter


def _anthropic(kind: Kind) -> Adapter:
    from llm_gateway.providers.anthropic.adapter import AnthropicAdapter  # noqa: PLC0415 - see OnFirstUse

    return AnthropicAdapter(kind)


def _gemini(kind: Kind) -> Adapter:
    from llm_gateway.providers.gemini.adapter import GeminiAdapter  # noqa: PLC0415 - see OnFirstUse

    return GeminiAdapter(kind)


_KNOWN: tuple[Adapter, ...] = (
    OpenAIAdapter(OPENAI),
    AzureAdapter(AZURE),
    OnFirstUse(ANTHROPIC, _anthropic),
    OnFirstUse(GEMINI, _gemini),
    SimulatedAdapter(SIMULATED),
    *PRESETS,
)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType({adapter.kind.name: adapter for adapter in _KNOWN})

KINDS: Mapping[str, Kind] = MappingProxyType({name: adapter.kind for name, adapter in ADAPTERS.items()})
