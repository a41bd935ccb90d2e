"""Every provider kind there is: a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_gateway.core.catalog import Kind
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.gemini.adapter import GEMINI, GeminiAdapter
from llm_gateway.providers.openai import OpenAIAdapter
from llm_gateway.providers.simulated import SIMULATED, SimulatedAdapter

_OPENAI = Kind(
    name="openai",
    default_api_base="https://api.openai.com/v1",
    endpoints=("chat/completions", "completions", "embeddings", "responses"),
)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "anthropic": AnthropicAdapter(),
        "gemini": GeminiAdapter(GEMINI),
        "openai": OpenAIAdapter(_OPENAI),
        "simulated": SimulatedAdapter(SIMULATED),
    }
)

KINDS: Mapping[str, Kind] = MappingProxyType({name: adapter.kind for name, adapter in ADAPTERS.items()})
