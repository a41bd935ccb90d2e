"""The state of a deployment in this process: its breaker, its attempts in flight, and its recent failures."""

from __future__ import annotations

import copy
from collections.abc import Callable

import msgspec

from llm_gateway.core.routing.circuit_breaker import Breaker, BreakerRules

# Seconds after which a failure counts half. Longer than most replies take, so that a deployment which fails
# immediately does not look less busy than one that works.
_HALF_LIFE = 10.0


class DeploymentState:
    """The state of one deployment, shared by all routes that contain it. It outlives snapshots."""

    __slots__ = (
        "__weakref__", "_failed_at", "_failures", "breaker", "in_flight", "on_open", "provider_key",
        "upstream_model",
    )  # fmt: skip

    def __init__(
        self, rules: BreakerRules, provider_key: str, upstream_model: str, on_open: OnOpen | None = None
    ) -> None:
        self.on_open = on_open
        self.breaker = Breaker(rules)
        self.in_flight = 0
        self.provider_key = provider_key
        self.upstream_model = upstream_model
        self._failures = 0.0
        self._failed_at = 0.0

    def admit(self, now: float) -> Permit:
        """Start an attempt. The permit must be given back."""
        self.in_flight += 1
        breaker = self.breaker
        # As `acquire` does, without its frame.
        return Permit(self, breaker.generation if breaker.closed else breaker.acquire(now))

    def load(self, now: float) -> float:
        """Return the number of attempts in flight, plus recent failures, each of which decays over time."""
        if not self._failures:
            return self.in_flight
        return self.in_flight + self._decayed(now)

    def failed(self, generation: int, now: float, retry_after: float | None) -> None:
        """Record a failed attempt in the load and in the breaker, and report when the breaker opens."""
        self._failures = self._decayed(now) + 1.0
        self._failed_at = now
        admitted = self.breaker.closed or generation & 1
        self.breaker.failed(generation, now, retry_after)
        if admitted and not self.breaker.closed and self.on_open is not None:
            self.on_open(self, self.breaker.trial_in(now))

    def copy(self) -> DeploymentState:
        """Return an independent copy that reports nothing."""
        other = copy.copy(self)
        other.breaker = copy.copy(self.breaker)
        other.on_open = None
        return other

    def _decayed(self, now: float) -> float:
        failures: float = self._failures * 0.5 ** ((now - self._failed_at) / _HALF_LIFE)
        return failures if failures > 0.01 else 0.0


class Permit(msgspec.Struct):
    """The permission for one attempt at a deployment.

    It is given back once, with the attempt's outcome; later calls do nothing. It is made by position.
    """

    # None = it was given back.
    _state: DeploymentState | None
    _generation: int

    def succeeded(self, now: float) -> None:
        """Record that the reply was complete."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.breaker.succeeded(self._generation, now)

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """Record that the provider failed. `retry_after` is the wait in seconds that it asked for."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.failed(self._generation, now, retry_after)

    def release(self) -> None:
        """End the attempt without an outcome, because it says nothing about the provider."""
        state = self._state
        if state is not None:
            self._state = None
            state.in_flight -= 1
            state.breaker.release(self._generation)


# Called with the deployment whose breaker opened, and for how many seconds.
OnOpen = Callable[[DeploymentState, float], None]
