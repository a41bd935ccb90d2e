"""What a reply's dialect is told, for tests of dialects."""

from __future__ import annotations

from dataclasses import dataclass

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.ports.dialect import ReplyFacts


@dataclass(kw_only=True)
class StatedFacts(ReplyFacts):
    """Facts as a test states them."""

    request_id: str = "01a22829-cf4c-700f-8c7d-0c1dce5ab805"
    created_at: int = 1_750_000_000_000_000
    model: str = "m"
    deployment: Deployment | None = None
    usage: Usage | None = None
    provider: str | None = "p"
    upstream_model: str | None = "up"
    is_cached: bool = False
    attempts: int = 1
    latency_ms: float = 1234.5
    upstream_latency_ms: float | None = 1200.0
    cost_nano_usd: int | None = None
    unpriced: str | None = None
