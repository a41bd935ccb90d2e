"""A circuit breaker: tracks the outcomes of attempts and decides whether a deployment may receive the next one.

The caller passes the time in, so the state machine does no I/O and tests need no clock.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["closed", "open", "half_open"]

_SLICES = 6


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long. Times are in seconds."""

    # The breaker opens after this many failures in a row ...
    consecutive_failures: int = 5
    # ... or when this share of the attempts in the last `window` seconds failed, given at least `min_attempts`.
    failure_rate: float = 0.5
    min_attempts: int = 20
    window: float = 30.0
    # Each failed trial multiplies the open time by `open_time_factor`, up to `max_open_time`.
    initial_open_time: float = 5.0
    open_time_factor: float = 2.0
    max_open_time: float = 60.0


class Breaker:
    """Protects one deployment from requests while it fails.

    Every attempt calls `acquire` first, and then reports its outcome exactly once with `succeeded`, `failed` or
    `release`, passing the generation that `acquire` returned.

    - Closed: every attempt is allowed.
    - Open: no attempt is allowed until the open time has passed.
    - Half-open: one trial is allowed, and the next one only after that trial has ended.

    An attempt may be sent even though the breaker does not allow it (see "panic" in the glossary): its success
    closes the breaker, its failure changes nothing. Outcomes of attempts that started before the breaker last
    opened or closed are ignored. All times are monotonic seconds.
    """

    __slots__ = (
        "_attempts",
        "_closed_at",
        "_consecutive_failures",
        "_failures",
        "_open_count",
        "_open_until",
        "_past_slices",
        "_rules",
        "_slice_end",
        "_trial_in_flight",
        "_wait_requested",
        "closed",
        "generation",
    )  # fmt: skip

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        # A plain attribute, because every request reads it.
        self.closed = True
        # Even, and increased by 2 with every change of state. The trial of a half-open breaker gets the odd
        # number that follows.
        self.generation = 0
        self._trial_in_flight = False
        self._consecutive_failures = 0
        # Attempts and failures in the current slice of the window, and pairs of both for the slices before it.
        self._attempts = self._failures = 0
        self._slice_end = 0.0
        self._past_slices: tuple[tuple[int, int], ...] = ()
        self._open_until = 0.0
        # The breaker is open because the provider sent Retry-After.
        self._wait_requested = False
        self._closed_at: float | None = None
        # How often the breaker has opened without a long closed period in between.
        self._open_count = 0

    @property
    def consecutive_failures(self) -> int:
        """The number of failed attempts since the last successful one."""
        return self._consecutive_failures

    def state(self, now: float) -> State:
        """Return the state as it is shown to operators."""
        if self.closed:
            return "closed"
        return "half_open" if self._trial_in_flight or now >= self._open_until else "open"

    def allows(self, now: float) -> bool:
        """Return whether the breaker would allow an attempt now."""
        return self.closed or (now >= self._open_until and not self._trial_in_flight)

    def trial_in(self, now: float) -> float:
        """Return the seconds until a trial is due; 0.0 when the breaker is closed or the open time has passed."""
        return 0.0 if self.closed else max(self._open_until - now, 0.0)

    def acquire(self, now: float) -> int:
        """Start an attempt and return its generation. The attempt becomes the trial if one is due."""
        if self.closed:
            return self.generation
        if now >= self._open_until and not self._trial_in_flight:
            self._trial_in_flight = True
            return self.generation + 1
        return self.generation

    def succeeded(self, generation: int, now: float) -> None:
        """Record an attempt whose reply was complete."""
        if generation != self.generation and generation != self.generation + 1:
            return
        if not self.closed:
            self._close(now)
            return
        self._consecutive_failures = 0
        if now >= self._slice_end:
            self._rotate_window(now)
        self._attempts += 1

    def failed(self, generation: int, now: float, retry_after: float | None = None) -> None:
        """Record an attempt that failed because of the provider.

        `retry_after` is the wait in seconds that the provider asked for. The breaker then stays open for that
        long, up to `max_open_time`, and its next open time does not grow.
        """
        if generation | 1 != self.generation + 1:
            return
        if not self.closed:
            if generation & 1:
                self._open(now, retry_after)
            return
        self._consecutive_failures += 1
        if now >= self._slice_end:
            self._rotate_window(now)
        self._attempts += 1
        self._failures += 1
        too_many = self._consecutive_failures >= self._rules.consecutive_failures
        if retry_after or too_many or self._exceeds_failure_rate():
            self._open(now, retry_after)

    def release(self, generation: int) -> None:
        """End an attempt that says nothing about the provider: the client left, or its request was invalid."""
        if generation & 1 and generation == self.generation + 1:
            self._trial_in_flight = False

    def allow_trial(self, now: float) -> bool:
        """Make a trial due now, because the provider responded to a probe; return whether anything changed.

        A breaker that opened because the provider sent Retry-After keeps its open time.
        """
        if self.closed or self._wait_requested or now >= self._open_until:
            return False
        self._open_until = now
        return True

    def _exceeds_failure_rate(self) -> bool:
        attempts = self._attempts + sum(slice_attempts for slice_attempts, _ in self._past_slices)
        failures = self._failures + sum(slice_failures for _, slice_failures in self._past_slices)
        rules = self._rules
        return attempts >= rules.min_attempts and failures >= rules.failure_rate * attempts

    def _rotate_window(self, now: float) -> None:
        """Start the next slice of the window."""
        length = self._rules.window / _SLICES
        if now - self._slice_end >= self._rules.window:
            self._past_slices = ()
        else:
            missed = int((now - self._slice_end) / length)
            past = (*self._past_slices, (self._attempts, self._failures), *[(0, 0)] * missed)
            self._past_slices = past[1 - _SLICES :]
        self._attempts = self._failures = 0
        self._slice_end = now + length

    def _open(self, now: float, retry_after: float | None) -> None:
        rules = self._rules
        self._wait_requested = bool(retry_after)
        if retry_after:
            seconds = min(retry_after, rules.max_open_time)
        else:
            reopened_soon = self._closed_at is None or now - self._closed_at < rules.max_open_time
            self._open_count = self._open_count + 1 if reopened_soon else 1
            # The exponent is bounded to avoid an overflow; `max_open_time` caps the result long before.
            growth = rules.open_time_factor ** min(self._open_count - 1, 64)
            seconds = min(rules.initial_open_time * growth, rules.max_open_time)
        self._open_until = now + seconds
        self._change_state(closed=False)

    def _close(self, now: float) -> None:
        self._closed_at = now
        self._consecutive_failures = 0
        self._attempts = self._failures = 0
        self._past_slices = ()
        self._change_state(closed=True)

    def _change_state(self, *, closed: bool) -> None:
        self.closed = closed
        self._trial_in_flight = False
        self.generation += 2
