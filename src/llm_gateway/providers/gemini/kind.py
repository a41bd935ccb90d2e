"""Declares the provider kind `gemini`, without importing its adapter."""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind

GEMINI = Kind(
    name="gemini",
    version_segment="/v1beta",
    default_api_base="https://generativelanguage.googleapis.com/v1beta",
    price_provider="google",
)
