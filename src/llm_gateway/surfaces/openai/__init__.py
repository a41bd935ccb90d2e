"""OpenAI's API under /v1, for OpenAI's own SDKs."""
