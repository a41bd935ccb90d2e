"""OpenAI-compatible providers: their addresses and their differences from OpenAI.

docs/providers/openai-family.md has the source of each fact.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.providers.openai.request_rules import NO_RULES, RULES
from llm_gateway.wire.stated_costs import CostReader, openrouter_cost, perplexity_cost, xai_cost

_CHAT: tuple[EndpointName, ...] = ("chat/completions",)
_BOTH: tuple[EndpointName, ...] = ("chat/completions", "completions")
_ALL: tuple[EndpointName, ...] = ("chat/completions", "completions", "embeddings", "responses")

OPENAI = Kind(
    name="openai", default_api_base="https://api.openai.com/v1", endpoints=_ALL, price_provider="openai"
)

_KINDS = (
    Kind(
        name="mistral",
        default_api_base="https://api.mistral.ai/v1",
        # `stream_options` is rejected with 422; the last chunk always reports usage.
        stream_usage=False,
        endpoints=(*_CHAT, "embeddings"),
        price_provider="mistral",
    ),
    Kind(
        name="deepseek",
        default_api_base="https://api.deepseek.com/v1",
        endpoints=_CHAT,
        price_provider="deepseek",
    ),
    # The four that people host themselves have no known prices: hardware is not free.
    Kind(name="ollama", default_api_base="http://localhost:11434/v1", endpoints=_ALL),
    Kind(name="vllm", default_api_base="http://localhost:8000/v1", endpoints=_ALL),
    # Both answer with the model that is loaded, whatever the name.
    Kind(
        name="llamacpp", default_api_base="http://localhost:8080/v1", endpoints=_ALL, lists_all_models=False
    ),
    Kind(
        name="lmstudio", default_api_base="http://localhost:1234/v1", endpoints=_ALL, lists_all_models=False
    ),
    Kind(
        name="openrouter",
        default_api_base="https://openrouter.ai/api/v1",
        endpoints=(*_BOTH, "embeddings"),
        price_provider="openrouter",
    ),
    Kind(
        name="groq",
        default_api_base="https://api.groq.com/openai/v1",
        endpoints=(*_CHAT, "responses"),
        price_provider="groq",
    ),
    Kind(
        name="together",
        default_api_base="https://api.together.ai/v1",
        endpoints=(*_BOTH, "embeddings"),
        price_provider="together",
    ),
    Kind(
        name="xai",
        default_api_base="https://api.x.ai/v1",
        endpoints=(*_CHAT, "responses"),
        price_provider="x-ai",
    ),
    Kind(
        name="fireworks",
        default_api_base="https://api.fireworks.ai/inference/v1",
        endpoints=_BOTH,
        # The list has a selection of what is served.
        lists_all_models=False,
        price_provider="fireworks",
    ),
    Kind(
        name="cerebras",
        default_api_base="https://api.cerebras.ai/v1",
        endpoints=_CHAT,
        price_provider="cerebras",
    ),
    # Its Agent API, which answers as the Responses API does.
    Kind(
        name="perplexity",
        default_api_base="https://api.perplexity.ai/v1",
        endpoints=("responses",),
        price_provider="perplexity",
    ),
)
# Mistral rejects `max_completion_tokens`; the others only know `max_tokens` and would ignore the limit.
_OLDER_NAME = frozenset({"mistral", "deepseek", "ollama", "llamacpp", "together"})

# Providers that state what a request cost.
_COSTS: Mapping[str, CostReader] = {
    "openrouter": openrouter_cost,
    "perplexity": perplexity_cost,
    "xai": xai_cost,
}

PRESETS = tuple(
    OpenAIAdapter(
        kind,
        knows_max_completion_tokens=kind.name not in _OLDER_NAME,
        rules=RULES.get(kind.name, NO_RULES),
        read_cost=_COSTS.get(kind.name),
    )
    for kind in _KINDS
)
