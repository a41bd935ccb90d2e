"""The names of the spans' attributes: OpenTelemetry's semantic conventions, and the gateway's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# The revision of the conventions. Those of GenAI are not stable yet: compare all names when this changes.
REVISION: Final = "1.44.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{REVISION}"

# --- GenAI, on the span of an attempt ---------------------------------------------------------------
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

# --- HTTP, on both spans ----------------------------------------------------------------------------
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

# --- the gateway's own ------------------------------------------------------------------------------
REQUEST_ID: Final = "llm_gateway.request_id"
CLIENT_REQUEST_ID: Final = "llm_gateway.client_request_id"
OUTCOME: Final = "llm_gateway.outcome"
MODEL: Final = "llm_gateway.model"
CREDENTIAL: Final = "llm_gateway.credential"
TENANT: Final = "llm_gateway.tenant"
PROJECT: Final = "llm_gateway.project"
CACHE_HIT: Final = "llm_gateway.cache_hit"
STREAM: Final = "llm_gateway.stream"
ATTEMPTS: Final = "llm_gateway.attempts"
CONFIG_VERSION: Final = "llm_gateway.config_version"
# Seconds from the request's first byte.
FIRST_TOKEN: Final = "llm_gateway.time_to_first_token"  # noqa: S105 - no password
PROVIDER_KEY: Final = "llm_gateway.provider"
ATTEMPT: Final = "llm_gateway.attempt"
NEXT_STEP: Final = "llm_gateway.next_step"
USAGE_SOURCE: Final = "llm_gateway.usage.source"
# Thousand-millionths of a dollar, so that sums are exact.
COST: Final = "llm_gateway.cost.nano_usd"
COST_SOURCE: Final = "llm_gateway.cost.source"
UNPRICED: Final = "llm_gateway.cost.unpriced"

# The conventions' names of operations, by endpoint, and of providers, by kind where they differ.
OPERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chat/completions": "chat",
        "responses": "chat",
        "completions": "text_completion",
        "embeddings": "embeddings",
    }
)
PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {"azure": "azure.ai.openai", "gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
)
