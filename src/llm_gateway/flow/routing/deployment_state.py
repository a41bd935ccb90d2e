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
        "__weakref__", "_failed_at", "_failures", "breaker", "in_flight", "on_open", "provider_key",
        "upstream_model",
    )  # fmt: skip

    def __init__(
        self, rules: BreakerRules, provider_key: str, upstream_model: str, on_open: OnOpen | None = None
    ) -> None:
        """Begin with a closed breaker and nothing in flight; `opened` is told whenever it opens."""
        self.on_open = on_open
        self.breaker = Breaker(rules)
        self.in_flight = 0
        self.provider_key = provider_key
        self.upstream_model = upstream_model
        self._failures = 0.0
        self._failed_at = 0.0

    def admit(self, now: float) -> Permit:
        """Begin an attempt."""
        self.in_flight += 1
        return Permit(self, self.breaker.acquire(now))

    def load(self, now: float) -> float:
        """Return how busy it is: what is in flight, and the failures that still count as though they were."""
        if not self._failures:
            return self.in_flight
        return self.in_flight + self._decayed(now)

    def failed(self, generation: int, now: float, retry_after: float | None) -> None:
        """Score a failure, and count it as work that goes on for a while."""
        self._failures = self._decayed(now) + 1.0
        self._failed_at = now
        admitted = self.breaker.closed or generation & 1
        self.breaker.failed(generation, now, retry_after)
        if admitted and not self.breaker.closed and self.on_open is not None:
            self.on_open(self, self.breaker.trial_in(now))

    def copy(self) -> DeploymentState:
        """Return one like it that goes its own way."""
        other = copy.copy(self)
        other.breaker = copy.copy(self.breaker)
        other.on_open = None
        return other

    def _decayed(self, now: float) -> float:
        left: float = self._failures * 0.5 ** ((now - self._failed_at) / _HALF_LIFE)
        return left if left > 0.01 else 0.0


class Permit:
    """One attempt's place at a deployment: given back once, with what became of it; what comes later is ignored."""

    __slots__ = ("_generation", "_state")

    def __init__(self, state: DeploymentState, generation: int) -> None:
        """Hold a place that `Standing.visit` has counted."""
        self._state: DeploymentState | None = state
        self._generation = generation

    def succeeded(self, now: float) -> None:
        """Say that the reply came to its end."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.breaker.succeeded(self._generation, now)

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """Say that the provider failed; `retry_after` is the wait that a 429 asks for, in seconds."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.failed(self._generation, now, retry_after)

    def release(self) -> None:
        """Say that it ended without telling anything of the provider."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.breaker.release(self._generation)


# Is told which deployment's breaker opened, and for how many seconds.
OnOpen = Callable[[DeploymentState, float], None]
