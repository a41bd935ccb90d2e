"""Providers that speak the OpenAI API, and their presets."""
