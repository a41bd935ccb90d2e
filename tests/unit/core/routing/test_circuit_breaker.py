"""A breaker opens on failures, allows one trial after its open time, and acts on the result."""

from __future__ import annotations

from llm_gateway.core.routing.circuit_breaker import Breaker, BreakerRules

RULES = BreakerRules()


class Clocked:
    """A breaker with a clock, and attempts that end immediately."""

    def __init__(self, rules: BreakerRules = RULES) -> None:
        self.breaker = Breaker(rules)
        self.now = 100.0

    def fail(self, times: int = 1, retry_after: float | None = None) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.acquire(self.now), self.now, retry_after)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.breaker.acquire(self.now), self.now)

    @property
    def state(self) -> str:
        return self.breaker.state(self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_five_failures_in_a_row_open_it() -> None:
    clocked = Clocked()
    clocked.fail(4)
    assert clocked.breaker.consecutive_failures == 4
    clocked.succeed()
    clocked.fail(4)
    assert clocked.state == "closed"
    clocked.fail()
    assert clocked.state == "open"
    assert not clocked.breaker.allows(clocked.now)
    assert clocked.breaker.trial_in(clocked.now) == 5.0


def test_half_of_the_last_attempts_failing_opens_it_though_never_five_in_a_row() -> None:
    clocked = Clocked()
    for _ in range(9):
        clocked.fail()
        clocked.succeed()
    clocked.wait(1)
    clocked.succeed()
    assert clocked.state == "closed"
    clocked.fail()
    assert clocked.state == "open"


def test_a_few_failures_among_many_attempts_leave_it_closed() -> None:
    clocked = Clocked()
    for _ in range(200):
        clocked.succeed(2)
        clocked.fail()
        clocked.wait(0.1)
    assert clocked.state == "closed"


def test_what_is_older_than_the_window_counts_no_more() -> None:
    clocked = Clocked()
    for _ in range(9):
        clocked.fail()
        clocked.succeed()
    clocked.wait(RULES.window + 5)
    clocked.succeed(8)
    for _ in range(4):
        clocked.fail()
    assert clocked.state == "closed"


def test_slices_of_the_window_are_forgotten_one_by_one() -> None:
    clocked = Clocked()
    for _ in range(6):
        clocked.fail()
        clocked.succeed()
        clocked.wait(5)
    # The oldest slices are gone by now: 5 pairs are in the window at most.
    for _ in range(4):
        clocked.succeed()
        clocked.fail()
    assert clocked.state == "closed"


def test_half_open_allows_one_trial_and_closes_when_it_succeeds() -> None:
    clocked = Clocked()
    clocked.fail(5)
    clocked.wait(5)
    assert clocked.state == "half_open"
    assert clocked.breaker.allows(clocked.now)
    trial = clocked.breaker.acquire(clocked.now)
    assert not clocked.breaker.allows(clocked.now)
    assert clocked.state == "half_open"
    clocked.breaker.succeeded(trial, clocked.now)
    assert clocked.state == "closed"
    clocked.fail(4)
    assert clocked.state == "closed"


def test_a_trial_that_says_nothing_makes_room_for_the_next() -> None:
    clocked = Clocked()
    clocked.fail(5)
    clocked.wait(5)
    clocked.breaker.release(clocked.breaker.acquire(clocked.now))
    assert clocked.breaker.allows(clocked.now)


def test_each_failed_trial_makes_the_open_time_longer_up_to_a_cap() -> None:
    clocked = Clocked()
    clocked.fail(5)
    times = []
    for _ in range(7):
        times.append(clocked.breaker.trial_in(clocked.now))
        clocked.wait(times[-1])
        clocked.fail()
    assert times == [5, 10, 20, 40, 60, 60, 60]


def test_flapping_keeps_the_open_time_and_a_long_good_time_resets_it() -> None:
    clocked = Clocked()
    clocked.fail(5)
    clocked.wait(5)
    clocked.succeed()
    clocked.fail(5)
    assert clocked.breaker.trial_in(clocked.now) == 10
    clocked.wait(10)
    clocked.succeed()
    clocked.wait(RULES.max_open_time)
    clocked.fail(5)
    assert clocked.breaker.trial_in(clocked.now) == 5


def test_retry_after_opens_it_at_once_for_that_long() -> None:
    clocked = Clocked()
    clocked.fail(retry_after=7)
    assert clocked.breaker.trial_in(clocked.now) == 7
    clocked.wait(7)
    clocked.fail(retry_after=3600)
    assert clocked.breaker.trial_in(clocked.now) == RULES.max_open_time
    clocked.wait(RULES.max_open_time)
    # What the provider asks for does not make our own open time longer.
    clocked.fail()
    assert clocked.breaker.trial_in(clocked.now) == 5


def test_no_wait_at_all_is_a_failure_like_any_other() -> None:
    clocked = Clocked()
    clocked.fail(retry_after=0.0)
    assert clocked.state == "closed"


def test_what_began_before_it_opened_says_nothing_any_more() -> None:
    clocked = Clocked()
    early = [clocked.breaker.acquire(clocked.now) for _ in range(8)]
    for generation in early[:5]:
        clocked.breaker.failed(generation, clocked.now)
    assert clocked.state == "open"
    clocked.wait(1)
    clocked.breaker.succeeded(early[5], clocked.now)
    clocked.breaker.failed(early[6], clocked.now)
    clocked.breaker.release(early[7])
    assert clocked.breaker.trial_in(clocked.now) == 4


def test_an_attempt_sent_in_a_panic_may_close_it_and_never_makes_it_worse() -> None:
    clocked = Clocked()
    clocked.fail(5)
    clocked.fail(20)
    assert clocked.breaker.trial_in(clocked.now) == 5
    clocked.succeed()
    assert clocked.state == "closed"


def test_a_stale_trial_changes_nothing_after_a_panic_closed_it() -> None:
    clocked = Clocked()
    clocked.fail(5)
    clocked.wait(5)
    trial = clocked.breaker.acquire(clocked.now)
    panicked = clocked.breaker.acquire(clocked.now)
    clocked.breaker.succeeded(panicked, clocked.now)
    clocked.breaker.failed(trial, clocked.now)
    assert clocked.state == "closed"
    assert clocked.breaker.consecutive_failures == 0


def test_a_successful_probe_makes_the_trial_due_unless_the_provider_sent_retry_after() -> None:
    clocked = Clocked()
    assert not clocked.breaker.allow_trial(clocked.now)
    clocked.fail(5)
    assert clocked.breaker.allow_trial(clocked.now)
    assert clocked.state == "half_open"
    assert not clocked.breaker.allow_trial(clocked.now)
    asked = Clocked()
    asked.fail(retry_after=30)
    assert not asked.breaker.allow_trial(asked.now)
    assert asked.state == "open"
