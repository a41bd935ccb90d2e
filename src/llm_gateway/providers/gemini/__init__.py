"""Adapter for Google's generateContent API: serves OpenAI chat completions from Gemini models."""
