"""What the admin API is asked about a request that is not made, and what it says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from llm_gateway.admin.shapes import Body, ModelName, Name
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.flow.explain.answer import Explanation, Question

Text = Annotated[str, Field(max_length=4096)]


class RouteQuestion(Body):
    """A request, as far as it matters for its route; `model` or `task_type` has to be there."""

    model: ModelName | None = None
    task_type: Name | None = None
    credential: int | Name | None = Field(
        default=None, description="An id or a name; left out: one that may use every model."
    )
    endpoint: EndpointName = "chat/completions"
    user: Text | None = None
    prompt_cache_key: Text | None = None
    headers: dict[str, Text] = Field(default={}, max_length=100)

    def question(self) -> Question:
        """Return it as the flow takes it."""
        return Question(**{name: getattr(self, name) for name in type(self).model_fields})


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CandidateShown(_Shown):
    """A deployment that may serve the model."""

    provider: str
    kind: str
    upstream_model: str
    weight: int
    breaker: Literal["closed", "open", "half_open"]
    trial_in: float = Field(description="Seconds until an open breaker may let a trial through.")
    in_flight: int = Field(description="Attempts in flight in the worker that answers.")


class LeftOutShown(_Shown):
    """A provider that is not asked."""

    provider: str
    reason: Literal["disabled", "drained", "endpoint", "not_mapped", "breaker_open"]


class ModelShown(_Shown):
    """One model that the request could be answered by."""

    model: str
    role: Literal["asked", "fallback", "context_fallback", "policy_fallback"]
    passed_over: str | None = Field(description="Why none of its providers is asked, null when they are.")
    strategy: Literal["weighted_round_robin", "weighted_random", "least_busy"]
    affinity: str | None
    has_affinity: bool = Field(description="The request has what the affinity rule looks at.")
    panic: bool = Field(description="Over half of it is behind open breakers, so that all are asked.")
    candidates: list[CandidateShown]
    left_out: list[LeftOutShown]
    not_mapped: int = Field(description="Providers that do not map the model; at most 100 are in left_out.")


class StopShown(_Shown):
    """Who is asked next when all before it have failed."""

    model: str
    provider: str
    upstream_model: str


class RetriesShown(_Shown):
    """The retry policy in force."""

    max_retries: int
    initial_backoff_ms: float
    max_backoff_ms: float
    backoff_factor: float
    jitter: float
    retry_cut: bool
    in_flight: int = Field(description="Places of the route's retry budget that are taken now.")


class TimeoutsShown(_Shown):
    """Seconds."""

    connect: float | None = Field(description="null = CONNECT_TIMEOUT.")
    first_content: float
    idle: float
    total: float


class RefusedShown(_Shown):
    """The error that the client would get before anybody was asked."""

    status: int
    code: str | None
    message: str


class RouteExplanation(_Shown):
    """What would become of the request, as the worker that answers sees it."""

    config_version: int
    model: str | None
    endpoint: EndpointName
    credential: str | None
    task_models: list[str] | None = Field(description="Models of the task type, best first.")
    refused: RefusedShown | None
    order: list[StopShown]
    is_order_drawn: bool = Field(description="The order was drawn by lot: a request draws its own.")
    routes: list[ModelShown]
    retries: RetriesShown
    timeouts: TimeoutsShown
    rate_limit: int | None = Field(description="Requests per second of the credential; null = no limit.")
    price: None = None
    price_note: str = "not priced yet"

    @classmethod
    def of(cls, explanation: Explanation) -> RouteExplanation:
        """Return the answer for `explanation`."""
        return cls.model_validate(explanation)
