"""Providers that speak OpenAI's dialect: where they are, and in what they differ from it.

docs/providers/openai-family.md says where each of these facts comes from.
"""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.providers.openai.adapter import OpenAIAdapter

_CHAT: tuple[EndpointName, ...] = ("chat/completions",)
_BOTH: tuple[EndpointName, ...] = ("chat/completions", "completions")
_ALL: tuple[EndpointName, ...] = ("chat/completions", "completions", "embeddings", "responses")

OPENAI = Kind(name="openai", default_api_base="https://api.openai.com/v1", endpoints=_ALL)

_KINDS = (
    Kind(
        name="mistral",
        default_api_base="https://api.mistral.ai/v1",
        # Refused with 422; usage comes unasked, on the last chunk.
        stream_usage=False,
        endpoints=(*_CHAT, "embeddings"),
    ),
    Kind(name="deepseek", default_api_base="https://api.deepseek.com/v1", endpoints=_CHAT),
    Kind(name="ollama", default_api_base="http://localhost:11434/v1", endpoints=_ALL),
    Kind(name="vllm", default_api_base="http://localhost:8000/v1", endpoints=_ALL),
    Kind(name="llamacpp", default_api_base="http://localhost:8080/v1", endpoints=_ALL),
    Kind(name="lmstudio", default_api_base="http://localhost:1234/v1", endpoints=_ALL),
    Kind(
        name="openrouter",
        default_api_base="https://openrouter.ai/api/v1",
        endpoints=(*_BOTH, "embeddings"),
    ),
    Kind(name="groq", default_api_base="https://api.groq.com/openai/v1", endpoints=(*_CHAT, "responses")),
    Kind(name="together", default_api_base="https://api.together.ai/v1", endpoints=(*_BOTH, "embeddings")),
    Kind(name="xai", default_api_base="https://api.x.ai/v1", endpoints=(*_CHAT, "responses")),
    Kind(name="fireworks", default_api_base="https://api.fireworks.ai/inference/v1", endpoints=_BOTH),
    Kind(name="cerebras", default_api_base="https://api.cerebras.ai/v1", endpoints=_CHAT),
)
# Mistral refuses `max_completion_tokens`; the others know `max_tokens` alone and would lose the limit.
_OLDER_NAME = frozenset({"mistral", "deepseek", "ollama", "llamacpp", "together"})

PRESETS = tuple(
    OpenAIAdapter(kind, knows_max_completion_tokens=kind.name not in _OLDER_NAME) for kind in _KINDS
)
