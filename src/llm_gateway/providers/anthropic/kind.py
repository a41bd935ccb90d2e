"""Defines the provider kind `anthropic`; importing this does not import the adapter."""

from __future__ import annotations

from llm_gateway.core.config.providers import Kind

ANTHROPIC = Kind(
    name="anthropic", default_api_base="https://api.anthropic.com/v1", price_provider="anthropic"
)
