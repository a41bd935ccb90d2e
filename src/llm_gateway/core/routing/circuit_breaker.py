"""A circuit breaker, its clock passed in: says whether a deployment is worth asking, and learns from what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half_open"]

_SLICES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and for how long; times in seconds."""

    # So many failures one after the other open it ...
    consecutive_failures: int = 5
    # ... and so does this share of the last `window` seconds' attempts, once there were `least_attempts`.
    failure_rate: float = 0.5
    min_attempts: int = 20
    window: float = 30.0
    # The first time; each failed trial makes the next one `growth` times as long, up to `longest_open`.
    initial_open_time: float = 5.0
    open_time_factor: float = 2.0
    max_open_time: float = 60.0


class Breaker:
    """Guards one deployment: every attempt takes a ticket with `enter`, and gives it back once, with its outcome.

    Closed, it lets everyone through. Open, it admits nobody until its time is over; then it is half-open: it
    admits one trial, and the next only when that one has ended. An attempt that is sent regardless (see panic
    in the glossary) may close it, and never makes it worse. What began before it opened or closed says nothing
    any more. Times are monotonic seconds.
    """

    __slots__ = (
        "_attempts", "_closed_at", "_consecutive_failures", "_failures", "_generation",
        "_open_count", "_open_until", "_past_slices", "_requested_by_provider", "_rules", "_slice_end",
        "_trial_in_flight", "closed",
    )  # fmt: skip

    def __init__(self, rules: BreakerRules) -> None:
        """Begin closed, with nothing known."""
        self._rules = rules
        # The one thing that every request reads.
        self.closed = True
        # Even; the trial of a half-open breaker has the next odd number. It changes with the state.
        self._generation = 0
        self._trial_in_flight = False
        self._consecutive_failures = 0
        # Attempts and failures of the slice of time that runs, and of the slices before it.
        self._attempts = self._failures = 0
        self._slice_end = 0.0
        self._past_slices: tuple[tuple[int, int], ...] = ()
        self._open_until = 0.0
        # It is open because the provider asked for it.
        self._requested_by_provider = False
        self._closed_at: float | None = None
        # How often in a row it opened.
        self._open_count = 0

    @property
    def consecutive_failures(self) -> int:
        """Return how many attempts failed since the last that did not."""
        return self._consecutive_failures

    def state(self, now: float) -> State:
        """Return the state as an operator sees it."""
        if self.closed:
            return "closed"
        return "half_open" if self._trial_in_flight or now >= self._open_until else "open"

    def allows(self, now: float) -> bool:
        """Tell whether an attempt would be let through now."""
        return self.closed or (now >= self._open_until and not self._trial_in_flight)

    def trial_in(self, now: float) -> float:
        """Return the seconds until it may admit a trial; 0.0 when it is closed or its time is over."""
        return 0.0 if self.closed else max(self._open_until - now, 0.0)

    def acquire(self, now: float) -> int:
        """Take a ticket for an attempt that is about to begin; it is the trial if a trial is due."""
        if self.closed:
            return self._generation
        if now >= self._open_until and not self._trial_in_flight:
            self._trial_in_flight = True
            return self._generation + 1
        return self._generation

    def succeeded(self, generation: int, now: float) -> None:
        """Note an attempt that came to a good end."""
        if generation | 1 != self._generation + 1:
            return
        if not self.closed:
            self._close(now)
            return
        self._consecutive_failures = 0
        if now >= self._slice_end:
            self._rotate_window(now)
        self._attempts += 1

    def failed(self, generation: int, now: float, retry_after: float | None = None) -> None:
        """Note an attempt whose provider failed.

        `retry_after` is the wait, in seconds, that a 429 asks for: it is kept, up to the longest open time, and
        does not make the next open time longer.
        """
        if generation | 1 != self._generation + 1:
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
        if (
            retry_after
            or self._consecutive_failures >= self._rules.consecutive_failures
            or self._exceeds_failure_rate()
        ):
            self._open(now, retry_after)

    def release(self, generation: int) -> None:
        """Note an attempt that says nothing of the provider: its client left, or asked for what cannot be."""
        if generation & 1 and generation == self._generation + 1:
            self._trial_in_flight = False

    def allow_trial(self, now: float) -> bool:
        """Make a trial due now, since the provider gave a sign of life; tell whether that changed anything.

        A provider that asked to be left alone is left alone.
        """
        if self.closed or self._requested_by_provider or now >= self._open_until:
            return False
        self._open_until = now
        return True

    def _exceeds_failure_rate(self) -> bool:
        attempts = self._attempts + sum(slice_attempts for slice_attempts, _ in self._past_slices)
        failures = self._failures + sum(slice_failures for _, slice_failures in self._past_slices)
        rules = self._rules
        return attempts >= rules.min_attempts and failures >= rules.failure_rate * attempts

    def _rotate_window(self, now: float) -> None:
        """Begin the next slice of time."""
        length = self._rules.window / _SLICES
        if now - self._slice_end >= self._rules.window:
            self._past_slices = ()
        else:
            missed = int((now - self._slice_end) / length)
            self._past_slices = (*self._past_slices, (self._attempts, self._failures), *[(0, 0)] * missed)[
                1 - _SLICES :
            ]
        self._attempts = self._failures = 0
        self._slice_end = now + length

    def _open(self, now: float, retry_after: float | None) -> None:
        rules = self._rules
        self._requested_by_provider = bool(retry_after)
        if retry_after:
            seconds = min(retry_after, rules.max_open_time)
        else:
            flaps = self._closed_at is None or now - self._closed_at < rules.max_open_time
            self._open_count = self._open_count + 1 if flaps else 1
            # Beyond 64 steps the power would only be larger than any longest time.
            seconds = min(
                rules.initial_open_time * rules.open_time_factor ** min(self._open_count - 1, 64),
                rules.max_open_time,
            )
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
        self._generation += 2
