"""The question and the answer of an explained route.

The answer's types are dataclasses, so that the admin API can serve them and derive its OpenAPI schema from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llm_gateway.core.config.models import Strategy
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.routing.circuit_breaker import State
from llm_gateway.flow.explain.prices import ShownPrices

Role = Literal["asked", "fallback", "context_fallback", "policy_fallback"]
Reason = Literal[
    "disabled",
    "drained",
    "endpoint",
    "not_mapped",
    "breaker_open",
    "faulty",
    "unserved",
    "not_listed",
    # The credential requires known prices.
    "not_priced",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A hypothetical request. `credential` is an id or a name; None may use every model."""

    model: str | None = None
    task_type: str | None = None
    credential: int | str | None = None
    endpoint: EndpointName = "chat/completions"
    user: str | None = None
    prompt_cache_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedCandidate:
    """A deployment that may serve the model."""

    provider: str
    kind: str
    upstream_model: str
    weight: int
    breaker: State
    trial_in: float = field(metadata={"description": "Seconds until an open breaker allows a trial."})
    in_flight: int = field(metadata={"description": "Attempts in flight in the worker that answers."})
    prices: ShownPrices


@dataclass(frozen=True, slots=True, kw_only=True)
class OmittedProvider:
    """A provider that is not tried for the model."""

    provider: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRoute:
    """One model that may serve the request."""

    model: str
    role: Role
    passed_over: str | None = field(
        metadata={"description": "Why no provider of it is tried; null when some are."}
    )
    strategy: Strategy
    affinity: str | None
    has_affinity: bool = field(
        metadata={"description": "The request has the value that the affinity rule uses."}
    )
    panic: bool = field(metadata={"description": "Breakers are ignored, since over half of them are open."})
    candidates: tuple[ExplainedCandidate, ...]
    left_out: tuple[OmittedProvider, ...]
    not_mapped: int = field(
        metadata={"description": "Providers that do not map the model; left_out lists up to 100."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAttempt:
    """A deployment that is tried once all before it have failed."""

    model: str
    provider: str
    upstream_model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveTimeouts:
    """The timeouts in force, in seconds."""

    connect: float | None = field(metadata={"description": "null = CONNECT_TIMEOUT."})
    first_content: float
    idle: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRetries:
    """The retry policy in force."""

    max_retries: int
    initial_backoff_ms: float
    max_backoff_ms: float
    backoff_factor: float
    jitter: float
    retry_cut: bool
    in_flight: int = field(
        metadata={"description": "Retries of this route in flight in the worker that answers."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """The error that the client gets before any provider is tried."""

    status: int
    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How the worker that answers would handle the request."""

    config_version: int
    model: str | None
    endpoint: EndpointName
    credential: str | None
    task_models: tuple[str, ...] | None = field(
        metadata={"description": "The task type's models that the credential may use, best first."}
    )
    refused: ExpectedError | None
    order: tuple[PlannedAttempt, ...]
    is_order_drawn: bool = field(
        metadata={"description": "The order is random: every request draws its own."}
    )
    routes: tuple[ExplainedRoute, ...]
    retries: EffectiveRetries
    timeouts: EffectiveTimeouts
    rate_limit: int | None = field(
        metadata={"description": "The credential's requests per second; null = no limit."}
    )
    notes: tuple[str, ...] = field(
        default=(), metadata={"description": "What an answer about an earlier version does not know."}
    )
