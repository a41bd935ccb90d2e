"""Retry policy: what to do after a failed attempt, and a budget that limits retries during an outage."""

from __future__ import annotations

from typing import Literal

import msgspec

# 401 and 402 concern the operator's API key and billing; 408 and 429 say that the provider cannot answer now.
# The client causes none of them.
_PROVIDER_4XX = frozenset({401, 402, 408, 429})

# - `connect`, `cut`, `timeout`, `protocol`: see `TransportError`.
# - `proxy`: the operator's own proxy, which stands between the gateway and the provider, fails.
# - `status`: the provider answered with an error status.
# - `account`: the provider refuses the gateway's own account: its credit, its quota or its permissions.
# - `unserved`: the provider has no such model or no such endpoint.
# - `too_large`: the reply is larger than the gateway accepts.
Reason = Literal[
    "connect", "proxy", "cut", "timeout", "protocol", "status", "account", "unserved", "too_large"
]
# They say nothing about whether the deployment works.
_NO_VERDICT: frozenset[Reason] = frozenset({"unserved", "too_large"})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt failed."""

    reason: Reason
    # The provider's HTTP status, if it sent one.
    status: int | None = None
    # The wait that the provider asked for, in seconds.
    retry_after: float | None = None
    # Set when another model may be able to answer the request.
    about: Literal["context_length", "content_policy"] | None = None


def is_provider_failure(failure: Failure) -> bool:
    """Return whether the deployment is failing; the client causes most 4xx statuses."""
    if failure.about is not None or failure.reason in _NO_VERDICT:
        return False
    status = failure.status
    if failure.reason != "status" or status is None:
        return True
    return not 400 <= status < 500 or status in _PROVIDER_4XX


class Failover(msgspec.Struct, frozen=True):
    """Try the next deployment immediately."""


class Retry(msgspec.Struct, frozen=True):
    """Try a deployment again after a wait in seconds."""

    after: float


class GiveUp(msgspec.Struct, frozen=True):
    """Return the error to the client."""


Step = Failover | Retry | GiveUp
FAILOVER, GIVE_UP = Failover(), GiveUp()


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often failed attempts are retried, and after which waits. Times are in seconds.

    The first attempt at each deployment is not a retry: untried deployments come before any wait.
    """

    max_retries: int = 3
    initial_backoff: float = 1.0
    max_backoff: float = 30.0
    factor: float = 2.0
    # Each wait varies at random by this share, up or down.
    jitter: float = 0.1
    # Whether to retry after the connection was cut: the provider may have processed the request already.
    retry_cut: bool = True

    def decide(
        self, failure: Failure, *, untried: bool, ready_in: float | None, retries: int, draw: float
    ) -> Step:
        """Return the next step after a failure before the commit.

        `untried`: the plan has a deployment that was not tried yet. `ready_in`: seconds until a deployment may be
        retried, None if there is none. `retries`: the number of retries so far. `draw`: a random number in [0, 1).
        """
        if not self.is_retryable(failure):
            return GIVE_UP
        if untried:
            return FAILOVER
        if ready_in is None or ready_in > self.max_backoff or retries >= self.max_retries:
            return GIVE_UP
        return Retry(max(self.backoff(retries, draw), ready_in))

    def is_retryable(self, failure: Failure) -> bool:
        """Return whether the request may be sent again, to any deployment."""
        if failure.reason == "cut":
            return self.retry_cut
        if failure.reason == "unserved":
            return True
        return is_provider_failure(failure)

    def backoff(self, retries: int, draw: float) -> float:
        """Return the wait before the retry that follows `retries` others: exponential, capped, then jittered."""
        try:
            wait = min(self.max_backoff, self.initial_backoff * self.factor**retries)
        except OverflowError:
            wait = self.max_backoff
        return wait * (1 + self.jitter * (2 * draw - 1))


class RetryBudget:
    """Limits the retries of one route, so that they do not multiply the load during an outage.

    Two limits apply together:

    - Concurrency: at any moment at most `max(3, 20 %)` of the attempts in flight are retries, including those
      that are waiting to start.
    - Rate: a token bucket with 10 tokens, which gains 0.1 token per request and 0.1 per second. When failures
      return immediately, little is in flight, and the concurrency limit alone would allow too many retries.

    At one request per second or more, an outage therefore costs at most 1.2 attempts per request in the long
    run, and so does a sudden burst of a hundred requests.
    """

    __slots__ = ("_credited_requests", "_in_use", "_refilled_at", "_tokens", "requests")

    MIN_CONCURRENCY = 3
    CONCURRENCY_RATIO = 0.2
    REQUEST_RATIO = 0.1
    REFILL_PER_SECOND = 0.1
    MAX_TOKENS = 10.0

    def __init__(self) -> None:
        # Requests so far. The plan increments this directly, so that the hot path pays nothing else.
        self.requests = 0
        self._credited_requests = 0
        self._in_use = 0
        self._tokens = self.MAX_TOKENS
        self._refilled_at: float | None = None

    @property
    def in_use(self) -> int:
        """The number of retries in flight."""
        return self._in_use

    def acquire(self, now: float, in_flight: int) -> bool:
        """Reserve a retry if both limits allow it, and return whether they do. Call `release` when it has ended.

        `in_flight` is the number of the route's attempts in flight, without retries that are still waiting.
        """
        self._refill(now)
        most = max(self.MIN_CONCURRENCY, int(self.CONCURRENCY_RATIO * (in_flight + self._in_use)))
        if self._in_use >= most or self._tokens < 1.0:
            return False
        self._in_use += 1
        self._tokens -= 1.0
        return True

    def release(self) -> None:
        """End a reserved retry, whether it failed or led to a reply."""
        self._in_use -= 1

    def _refill(self, now: float) -> None:
        elapsed = 0.0 if self._refilled_at is None else max(now - self._refilled_at, 0.0)
        earned = (
            self.requests - self._credited_requests
        ) * self.REQUEST_RATIO + elapsed * self.REFILL_PER_SECOND
        self._tokens = min(self._tokens + earned, self.MAX_TOKENS)
        self._credited_requests, self._refilled_at = self.requests, now
