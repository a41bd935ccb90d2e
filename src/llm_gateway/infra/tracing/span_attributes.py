"""What the spans of a request and of its attempts say, read from the same facts as the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.infra.tracing import attribute_names as names

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

Attributes = dict[str, "AttributeValue"]


def request_ended(record: UsageRecord) -> Attributes:
    """Return the attributes of a finished request: none of them a usage, which its attempts have."""
    attributes = _stated(
        {
            names.STATUS: record.status_code or None,
            names.OUTCOME: record.outcome,
            names.ERROR_TYPE: None if record.outcome == "ok" else record.error_type,
            names.MODEL: record.model,
            names.CREDENTIAL: record.credential,
            names.TENANT: record.tenant,
            names.PROJECT: record.project,
            names.CLIENT_REQUEST_ID: record.client_request_id,
            names.CONFIG_VERSION: record.config_version,
            names.FIRST_TOKEN: _seconds(record.ttft_ms),
        }
    )
    attributes |= {
        names.CACHE_HIT: record.cache_hit,
        names.STREAM: record.stream,
        names.ATTEMPTS: record.attempts,
    }
    return attributes


def attempt_begun(request_id: str, number: int, request: ModelRequest, deployment: Deployment) -> Attributes:
    """Return what is known of an attempt when it begins."""
    return {
        names.REQUEST_ID: request_id,
        names.ATTEMPT: number,
        names.OPERATION: names.OPERATIONS[request.endpoint],
        names.PROVIDER: names.PROVIDERS.get(deployment.kind, deployment.kind),
        names.PROVIDER_KEY: deployment.provider_key,
        names.REQUEST_MODEL: deployment.upstream_model,
        names.REQUEST_STREAM: request.stream,
        names.MODEL: request.model,
    }


def attempt_ended(ended: AttemptEnded) -> Attributes:
    """Return how an attempt ended and what it used: exactly what its row of the ledger says."""
    return _stated(
        {
            names.OUTCOME: ended.outcome,
            names.STATUS: ended.status,
            names.ERROR_TYPE: None if ended.outcome == "ok" else ended.reason,
            names.NEXT_STEP: ended.next_step,
            names.FIRST_CHUNK: _seconds(ended.ttft_ms),
            names.INPUT_TOKENS: ended.prompt_tokens,
            names.OUTPUT_TOKENS: ended.completion_tokens,
            names.CACHE_READ_TOKENS: ended.cached_tokens,
            names.CACHE_WRITE_TOKENS: ended.cache_write_tokens,
            names.REASONING_TOKENS: ended.reasoning_tokens,
            names.USAGE_SOURCE: ended.usage_source,
            names.COST: ended.cost_nano_usd,
            names.COST_SOURCE: ended.cost_source,
            names.UNPRICED: ended.unpriced,
        }
    )


def _stated(values: Mapping[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
