"""Says what the kind `gemini` is, without importing all that speaks it."""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind

GEMINI = Kind(
    name="gemini",
    version_segment="/v1beta",
    default_api_base="https://generativelanguage.googleapis.com/v1beta",
)
