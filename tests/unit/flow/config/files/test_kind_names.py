"""The kind of a provider follows from its address, and from its name where that is safe."""

from __future__ import annotations

import pytest

from llm_gateway.flow.config.files.kind_names import likely_kind
from llm_gateway.providers.registry import KINDS


@pytest.mark.parametrize(
    ("name", "api_base", "kind"),
    [
        ("openai", "https://api.openai.com/v1", "openai"),
        ("deepseek", "https://api.deepseek.com", "deepseek"),
        ("x", "https://api.deepseek.com", "deepseek"),
        ("local", "http://localhost:11434", "ollama"),
        ("ollama", "http://gpu.internal:9000", "ollama"),
        ("vllm", "http://gpu.internal:8000/v1", "vllm"),
        ("my_provider", "https://api.myprovider.com", "openai"),
        ("claude", "https://api.anthropic.com", "anthropic"),
        ("claude", "https://proxy.example/v1", "openai"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", "gemini"),
        ("eu", "https://x.openai.azure.com", "azure"),
        ("demo", "simulated://demo", "simulated"),
        ("claude", None, "anthropic"),
        ("mistral", None, "mistral"),
        ("unknown", None, "openai"),
        ("bad", "http://[", "openai"),
    ],
)
def test_a_kind_is_likely(name: str, api_base: str | None, kind: str) -> None:
    assert likely_kind(name, api_base, KINDS) == kind
