"""What dialects may tell their clients about a reply, read from the request's meter."""

from __future__ import annotations

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.ports.dialect import ReplyFacts


class MeteredReply(ReplyFacts):
    """The facts of one reply, as of `now`. Costs are computed when they are asked for: most dialects tell none."""

    __slots__ = ("_meter", "_now", "created_at", "deployment", "model", "request_id", "usage")

    def __init__(
        self, meter: Meter, usage: Usage | None, deployment: Deployment | None, model: str, now: float
    ) -> None:
        """`now` is the clock's monotonic time."""
        self._meter = meter
        self._now = now
        self.request_id = meter.call.request_id
        self.created_at = meter.call.created_at
        self.model = model
        self.deployment = deployment
        self.usage = usage

    @property
    def provider(self) -> str | None:
        return self._meter.answered_by()[0]

    @property
    def upstream_model(self) -> str | None:
        return self._meter.answered_by()[1]

    @property
    def is_cached(self) -> bool:
        return self.deployment is None

    @property
    def attempts(self) -> int:
        return self._meter.attempts

    @property
    def latency_ms(self) -> float:
        return round((self._now - self._meter.call.started) * 1000, 3)

    @property
    def upstream_latency_ms(self) -> float | None:
        return self._meter.upstream_ms(self._now)

    @property
    def cost_nano_usd(self) -> int | None:
        return self._meter.cost_of(self.usage).cost_nano_usd

    @property
    def unpriced(self) -> str | None:
        return self._meter.cost_of(self.usage).unpriced
