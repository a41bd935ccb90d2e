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
    failures_in_a_row: int = 5
    # ... and so does this share of the last `window` seconds' attempts, once there were `least_attempts`.
    failure_share: float = 0.5
    least_attempts: int = 20
    window: float = 30.0
    # The first time; each failed trial makes the next one `growth` times as long, up to `longest_open`.
    first_open: float = 5.0
    growth: float = 2.0
    longest_open: float = 60.0


class Breaker:
    """Guards one deployment: every attempt takes a ticket with `enter`, and gives it back once, with its outcome.

    Closed, it lets everyone through. Open, it admits nobody until its time is over; then it is half-open: it
    admits one trial, and the next only when that one has ended. An attempt that is sent regardless (see panic
    in the glossary) may close it, and never makes it worse. What began before it opened or closed says nothing
    any more. Times are monotonic seconds.
    """

    __slots__ = (
        "_asked_for", "_attempts", "_closed_at", "_failures", "_in_a_row", "_open_until", "_opened", "_past",
        "_rules", "_slice_end", "_ticket", "_trial", "closed",
    )  # fmt: skip

    def __init__(self, rules: BreakerRules) -> None:
        """Begin closed, with nothing known."""
        self._rules = rules
        # The one thing that every request reads.
        self.closed = True
        # Even; the trial of a half-open breaker has the next odd number. It changes with the state.
        self._ticket = 0
        self._trial = False
        self._in_a_row = 0
        # Attempts and failures of the slice of time that runs, and of the slices before it.
        self._attempts = self._failures = 0
        self._slice_end = 0.0
        self._past: tuple[tuple[int, int], ...] = ()
        self._open_until = 0.0
        # It is open because the provider asked for it.
        self._asked_for = False
        self._closed_at: float | None = None
        # How often in a row it opened.
        self._opened = 0

    @property
    def failures_in_a_row(self) -> int:
        """Return how many attempts failed since the last that did not."""
        return self._in_a_row

    def state(self, now: float) -> State:
        """Return the state as an operator sees it."""
        if self.closed:
            return "closed"
        return "half_open" if self._trial or now >= self._open_until else "open"

    def admits(self, now: float) -> bool:
        """Tell whether an attempt would be let through now."""
        return self.closed or (now >= self._open_until and not self._trial)

    def trial_in(self, now: float) -> float:
        """Return the seconds until it may admit a trial; 0.0 when it is closed or its time is over."""
        return 0.0 if self.closed else max(self._open_until - now, 0.0)

    def enter(self, now: float) -> int:
        """Take a ticket for an attempt that is about to begin; it is the trial if a trial is due."""
        if self.closed:
            return self._ticket
        if now >= self._open_until and not self._trial:
            self._trial = True
            return self._ticket + 1
        return self._ticket

    def succeeded(self, ticket: int, now: float) -> None:
        """Note an attempt that came to a good end."""
        if ticket | 1 != self._ticket + 1:
            return
        if not self.closed:
            self._close(now)
            return
        self._in_a_row = 0
        if now >= self._slice_end:
            self._turn(now)
        self._attempts += 1

    def failed(self, ticket: int, now: float, retry_after: float | None = None) -> None:
        """Note an attempt whose provider failed.

        `retry_after` is the wait, in seconds, that a 429 asks for: it is kept, up to the longest open time, and
        does not make the next open time longer.
        """
        if ticket | 1 != self._ticket + 1:
            return
        if not self.closed:
            if ticket & 1:
                self._open(now, retry_after)
            return
        self._in_a_row += 1
        if now >= self._slice_end:
            self._turn(now)
        self._attempts += 1
        self._failures += 1
        if retry_after or self._in_a_row >= self._rules.failures_in_a_row or self._fails_often():
            self._open(now, retry_after)

    def left(self, ticket: int) -> None:
        """Note an attempt that says nothing of the provider: its client left, or asked for what cannot be."""
        if ticket & 1 and ticket == self._ticket + 1:
            self._trial = False

    def allow_trial(self, now: float) -> bool:
        """Make a trial due now, since the provider gave a sign of life; tell whether that changed anything.

        A provider that asked to be left alone is left alone.
        """
        if self.closed or self._asked_for or now >= self._open_until:
            return False
        self._open_until = now
        return True

    def _fails_often(self) -> bool:
        attempts = self._attempts + sum(slice_attempts for slice_attempts, _ in self._past)
        failures = self._failures + sum(slice_failures for _, slice_failures in self._past)
        rules = self._rules
        return attempts >= rules.least_attempts and failures >= rules.failure_share * attempts

    def _turn(self, now: float) -> None:
        """Begin the next slice of time."""
        length = self._rules.window / _SLICES
        if now - self._slice_end >= self._rules.window:
            self._past = ()
        else:
            missed = int((now - self._slice_end) / length)
            self._past = (*self._past, (self._attempts, self._failures), *[(0, 0)] * missed)[1 - _SLICES :]
        self._attempts = self._failures = 0
        self._slice_end = now + length

    def _open(self, now: float, retry_after: float | None) -> None:
        rules = self._rules
        self._asked_for = bool(retry_after)
        if retry_after:
            seconds = min(retry_after, rules.longest_open)
        else:
            flaps = self._closed_at is None or now - self._closed_at < rules.longest_open
            self._opened = self._opened + 1 if flaps else 1
            # Beyond 64 steps the power would only be larger than any longest time.
            seconds = min(rules.first_open * rules.growth ** min(self._opened - 1, 64), rules.longest_open)
        self._open_until = now + seconds
        self._start_over(closed=False)

    def _close(self, now: float) -> None:
        self._closed_at = now
        self._in_a_row = 0
        self._attempts = self._failures = 0
        self._past = ()
        self._start_over(closed=True)

    def _start_over(self, *, closed: bool) -> None:
        self.closed = closed
        self._trial = False
        self._ticket += 2
