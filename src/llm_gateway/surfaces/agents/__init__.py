"""The API of the agents' LLM proxy under /internal/llm, for services that share a secret with the gateway."""
