"""All provider kinds. A new OpenAI-compatible one is a line in `openai/presets.py`; another dialect is a folder."""

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
from llm_gateway.providers.openai.request_rules import AZURE_RULES, OPENAI_RULES
from llm_gateway.providers.openai.simulated import SIMULATED, SimulatedAdapter


def _anthropic(kind: Kind) -> Adapter:
    from llm_gateway.providers.anthropic.adapter import AnthropicAdapter  # noqa: PLC0415 - see OnFirstUse

    return AnthropicAdapter(kind)


def _gemini(kind: Kind) -> Adapter:
    from llm_gateway.providers.gemini.adapter import GeminiAdapter  # noqa: PLC0415 - see OnFirstUse

    return GeminiAdapter(kind)


_KNOWN: tuple[Adapter, ...] = (
    OpenAIAdapter(OPENAI, rules=OPENAI_RULES),
    AzureAdapter(AZURE, rules=AZURE_RULES),
    OnFirstUse(ANTHROPIC, _anthropic),
    OnFirstUse(GEMINI, _gemini),
    SimulatedAdapter(SIMULATED),
    *PRESETS,
)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType({adapter.kind.name: adapter for adapter in _KNOWN})

KINDS: Mapping[str, Kind] = MappingProxyType({name: adapter.kind for name, adapter in ADAPTERS.items()})
