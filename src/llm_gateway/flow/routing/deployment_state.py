"""What this process knows of a deployment: its breaker, its requests in flight, how it failed of late."""

from __future__ import annotations

import copy
from collections.abc import Callable

from llm_gateway.core.routing.circuit_breaker import Breaker, BreakerRules

# Half of a failure's weight is forgotten in so many seconds: longer than most replies take, so that a
# deployment which fails at once seems no less busy than one that works.
_HALF_LIFE = 10.0


class DeploymentState:
    """One deployment's standing, whichever routes it is in; it outlives snapshots."""

    __slots__ = (
        "__weakref__", "_failed_at", "_failures", "breaker", "in_flight", "opened", "provider_key",
        "upstream_model",
    )  # fmt: skip

    def __init__(
        self, rules: BreakerRules, provider_key: str, upstream_model: str, opened: Opened | None = None
    ) -> None:
        """Begin with a closed breaker and nothing in flight; `opened` is told whenever it opens."""
        self.opened = opened
        self.breaker = Breaker(rules)
        self.in_flight = 0
        self.provider_key = provider_key
        self.upstream_model = upstream_model
        self._failures = 0.0
        self._failed_at = 0.0

    def visit(self, now: float) -> Permit:
        """Begin an attempt."""
        self.in_flight += 1
        return Permit(self, self.breaker.enter(now))

    def load(self, now: float) -> float:
        """Return how busy it is: what is in flight, and the failures that still count as though they were."""
        if not self._failures:
            return self.in_flight
        return self.in_flight + self._decayed(now)

    def failed(self, ticket: int, now: float, retry_after: float | None) -> None:
        """Score a failure, and count it as work that goes on for a while."""
        self._failures = self._decayed(now) + 1.0
        self._failed_at = now
        admitted = self.breaker.closed or ticket & 1
        self.breaker.failed(ticket, now, retry_after)
        if admitted and not self.breaker.closed and self.opened is not None:
            self.opened(self, self.breaker.trial_in(now))

    def copy(self) -> DeploymentState:
        """Return one like it that goes its own way."""
        other = copy.copy(self)
        other.breaker = copy.copy(self.breaker)
        other.opened = None
        return other

    def _decayed(self, now: float) -> float:
        left: float = self._failures * 0.5 ** ((now - self._failed_at) / _HALF_LIFE)
        return left if left > 0.01 else 0.0


class Permit:
    """One attempt's place at a deployment: given back once, with what became of it; what comes later is ignored."""

    __slots__ = ("_standing", "_ticket")

    def __init__(self, standing: DeploymentState, ticket: int) -> None:
        """Hold a place that `Standing.visit` has counted."""
        self._standing: DeploymentState | None = standing
        self._ticket = ticket

    def succeeded(self, now: float) -> None:
        """Say that the reply came to its end."""
        standing = self._standing
        if standing is not None:
            self._standing = None
            standing.in_flight -= 1
            standing.breaker.succeeded(self._ticket, now)

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """Say that the provider failed; `retry_after` is the wait that a 429 asks for, in seconds."""
        standing = self._standing
        if standing is not None:
            self._standing = None
            standing.in_flight -= 1
            standing.failed(self._ticket, now, retry_after)

    def left(self) -> None:
        """Say that it ended without telling anything of the provider."""
        standing = self._standing
        if standing is not None:
            self._standing = None
            standing.in_flight -= 1
            standing.breaker.left(self._ticket)


# Is told which deployment's breaker opened, and for how many seconds.
Opened = Callable[[DeploymentState, float], None]
