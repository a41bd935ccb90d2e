"""What is asked and what is said of a request that is not made, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from llm_gateway.core.config.models import Strategy
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.routing.circuit_breaker import State

Role = Literal["asked", "fallback", "context_fallback", "policy_fallback"]
Reason = Literal["disabled", "drained", "endpoint", "not_mapped", "breaker_open"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not made: `credential` is an id or a name, None for one that may do everything."""

    model: str | None = None
    task_type: str | None = None
    credential: int | str | None = None
    endpoint: EndpointName = "chat/completions"
    user: str | None = None
    prompt_cache_key: str | None = None
    headers: Mapping[str, str] = {}


class ShownCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that may serve the model; times in seconds."""

    provider: str
    kind: str
    upstream_model: str
    weight: int
    breaker: State
    # Until its breaker may admit a trial.
    trial_in: float
    # In this process.
    in_flight: int


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that is not asked for the model, and why."""

    provider: str
    reason: Reason


class ShownRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One model that the request could be answered by."""

    model: str
    role: Role
    # Why it is passed over as a whole, None when it is not.
    passed_over: str | None
    strategy: Strategy
    # What requests are kept together by, and whether this one has it.
    affinity: str | None
    has_affinity: bool
    # Over half of it is behind open breakers, so that all are asked.
    panic: bool
    candidates: tuple[ShownCandidate, ...]
    left_out: tuple[LeftOut, ...]
    # How many providers do not map the model; the first of them are in `left_out`.
    not_mapped: int


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Who would be asked: the next one when all before it have failed."""

    model: str
    provider: str
    upstream_model: str


class ShownTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; `connect` None = CONNECT_TIMEOUT."""

    connect: float | None
    first_content: float
    idle: float
    total: float


class ShownRetries(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in force, in the words of its rules, and what of the route's budget is taken in this process."""

    max_retries: int
    initial_backoff_ms: float
    max_backoff_ms: float
    backoff_factor: float
    jitter: float
    retry_cut: bool
    in_flight: int


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The error that the client would get before anybody was asked."""

    status: int
    code: str | None
    message: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of the request, by the configuration and the state of the process that says so."""

    config_version: int
    model: str | None
    endpoint: EndpointName
    credential: str | None
    # Models that do the task, best first, as far as the credential may use them; None when none was asked for.
    task_models: tuple[str, ...] | None
    refused: Refused | None
    routes: tuple[ShownRoute, ...]
    order: tuple[Stop, ...]
    # The order was drawn by lot: a request draws its own.
    is_order_drawn: bool
    retries: ShownRetries
    timeouts: ShownTimeouts
    # Requests per second of the credential; None = no limit.
    rate_limit: int | None
