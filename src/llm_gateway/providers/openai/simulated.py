"""The built-in provider that needs no key and no network: OpenAI's dialect under a URL scheme of its own."""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind
from llm_gateway.providers.openai.adapter import OpenAIAdapter

SIMULATED = Kind(
    name="simulated",
    version_segment="",
    default_api_base="simulated://demo",
    schemes=("simulated",),
    endpoints=("chat/completions", "completions", "embeddings", "responses"),
)


class SimulatedAdapter(OpenAIAdapter):
    """Speaks OpenAI to `simulated://name?latency_ms=...`, whose query holds the knobs."""

    def url(self, base_url: str, path: str) -> str:
        """Put the path before the query."""
        base, question_mark, knobs = base_url.partition("?")
        return f"{base.rstrip('/')}/{path}{question_mark}{knobs}"
