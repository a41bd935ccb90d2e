"""The built-in provider, which needs no key and no network: OpenAI's API under the URL scheme `simulated:`."""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind
from llm_gateway.providers.openai.adapter import OpenAIAdapter

SIMULATED = Kind(
    name="simulated",
    version_segment="",
    default_api_base="simulated://demo",
    schemes=("simulated",),
    endpoints=("chat/completions", "completions", "embeddings", "responses"),
    lists_all_models=False,
    # No `price_provider`: it stands in for any provider. A free one would make every limit on costs look broken.
)


class SimulatedAdapter(OpenAIAdapter):
    """The adapter of `simulated://name?latency_ms=...`; the query configures the simulation."""

    def url(self, base_url: str, path: str) -> str:
        """Put the path before the query."""
        base, question_mark, knobs = base_url.partition("?")
        return f"{base.rstrip('/')}/{path}{question_mark}{knobs}"
