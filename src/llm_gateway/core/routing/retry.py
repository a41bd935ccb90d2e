"""What to do after an attempt failed: rules as values, and a budget that keeps an outage from being multiplied."""

from __future__ import annotations

from typing import Literal

import msgspec

# 401 and 402 are the operator's key and bill, not the client's; 408 and 429 say that this provider cannot, now.
_NOT_THE_CLIENTS_FAULT = frozenset({401, 402, 408, 429})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt did not lead to a reply."""

    reason: Literal["connect", "cut", "timeout", "protocol", "status"]
    # The provider's status, when there was one.
    status: int | None = None
    # Seconds that the provider asks to be left alone.
    retry_after: float | None = None
    # What another model may make good.
    about: Literal["context_length", "content_policy"] | None = None


def is_provider_failure(failure: Failure) -> bool:
    """Tell whether a failure says something of the provider; a 4xx is the client's own, but for a few."""
    if failure.about is not None:
        return False
    status = failure.status
    if failure.reason != "status" or status is None:
        return True
    return not 400 <= status < 500 or status in _NOT_THE_CLIENTS_FAULT


class Failover(msgspec.Struct, frozen=True):
    """Try the next deployment, at once."""


class Retry(msgspec.Struct, frozen=True):
    """Try a deployment again, after so many seconds."""

    after: float


class GiveUp(msgspec.Struct, frozen=True):
    """Tell the client."""


Step = Failover | Retry | GiveUp
FAILOVER, GIVE_UP = Failover(), GiveUp()


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how late a deployment is asked again; times in seconds.

    The first visit to each deployment is no retry, and is preferred to waiting for one that failed.
    """

    max_retries: int = 3
    initial_backoff: float = 1.0
    max_backoff: float = 30.0
    factor: float = 2.0
    # The part of a wait that is random, up and down.
    jitter: float = 0.1
    # Whether a request is tried again whose connection was cut: the provider may have done the work.
    retry_cut: bool = True

    def decide(
        self, failure: Failure, *, untried: bool, ready_in: float | None, retries: int, draw: float
    ) -> Step:
        """Return what comes after a failure before the commit.

        `untried` tells whether the plan holds a deployment that was not asked yet; `ready_in` is how long the
        one that would be asked again must be left alone, in seconds, None when there is none; `retries` counts
        those that were; `draw` is a random number in [0, 1).
        """
        if not self.is_retryable(failure):
            return GIVE_UP
        if untried:
            return FAILOVER
        if ready_in is None or ready_in > self.max_backoff or retries >= self.max_retries:
            return GIVE_UP
        return Retry(max(self.backoff(retries, draw), ready_in))

    def is_retryable(self, failure: Failure) -> bool:
        """Tell whether it makes sense to send the request once more, to whomever."""
        if failure.reason == "cut":
            return self.retry_cut
        return is_provider_failure(failure)

    def backoff(self, retries: int, draw: float) -> float:
        """Return the seconds before the retry after `retries` of them: exponential, capped, then jittered."""
        try:
            wait = min(self.max_backoff, self.initial_backoff * self.factor**retries)
        except OverflowError:
            wait = self.max_backoff
        return wait * (1 + self.jitter * (2 * draw - 1))


class RetryBudget:
    """How many further attempts the requests of one route may cost.

    Two bounds, and both must hold. At any moment at most `max(3, 20 %)` of what is in flight are further
    attempts, those that wait for their turn included. And over any span of time they are at most a tenth of
    its requests, plus one every ten seconds, plus ten: in an outage whose failures are fast there is little in
    flight, and three at once would be many. So at one request a second or more, an outage costs 1.2 attempts
    each in the long run, and a storm of a hundred does from the start.
    """

    __slots__ = ("_counted", "_in_use", "_refilled_at", "_tokens", "requests")

    MIN_CONCURRENCY = 3
    CONCURRENCY_RATIO = 0.2
    REQUEST_RATIO = 0.1
    REFILL_PER_SECOND = 0.1
    MAX_TOKENS = 10.0

    def __init__(self) -> None:
        """Begin with all that can be saved."""
        # Requests so far: whoever begins one adds to it, which is all that a request pays.
        self.requests = 0
        self._counted = 0
        self._in_use = 0
        self._tokens = self.MAX_TOKENS
        self._refilled_at: float | None = None

    @property
    def in_use(self) -> int:
        """Return the further attempts in flight."""
        return self._in_use

    def acquire(self, now: float, in_flight: int) -> bool:
        """Take a place for a further attempt, if there is one; `release` gives it back.

        `in_flight` are the route's attempts in flight, without those that wait.
        """
        self._refill(now)
        most = max(self.MIN_CONCURRENCY, int(self.CONCURRENCY_RATIO * (in_flight + self._in_use)))
        if self._in_use >= most or self._tokens < 1.0:
            return False
        self._in_use += 1
        self._tokens -= 1.0
        return True

    def release(self) -> None:
        """Give the place back, when the further attempt has failed, or has led to a reply."""
        self._in_use -= 1

    def _refill(self, now: float) -> None:
        elapsed = 0.0 if self._refilled_at is None else max(now - self._refilled_at, 0.0)
        earned = (self.requests - self._counted) * self.REQUEST_RATIO + elapsed * self.REFILL_PER_SECOND
        self._tokens = min(self._tokens + earned, self.MAX_TOKENS)
        self._counted, self._refilled_at = self.requests, now
