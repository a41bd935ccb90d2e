"""In any sequence of events a half-open breaker has one trial at a time, and a success closes it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.routing.circuit_breaker import Breaker, BreakerRules

_RULES = BreakerRules(consecutive_failures=2, min_attempts=4, window=12.0)
_EVENTS = st.lists(
    st.one_of(
        st.just(("enter", 0.0)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 5.0, 20.0, 61.0])),
        st.tuples(st.sampled_from(["succeeded", "failed", "asked", "left"]), st.floats(0, 0.999)),
        st.just(("allow_trial", 0.0)),
    ),
    max_size=120,
)


@given(events=_EVENTS)
def test_never_more_than_one_trial_at_a_time(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(_RULES), 0.0
    # Generations of open attempts, and whether each was admitted while the breaker was not closed: a trial.
    out: list[tuple[int, bool]] = []
    for what, number in events:
        was_closed = breaker.closed
        if what == "wait":
            now += number
        elif what == "enter":
            admitted = breaker.allows(now)
            if admitted and not was_closed:
                trials = [
                    generation
                    for generation, is_trial in out
                    if is_trial and generation == breaker.generation + 1
                ]
                assert trials == []
            generation = breaker.acquire(now)
            assert (generation & 1 == 1) == (admitted and not was_closed)
            out.append((generation, generation & 1 == 1))
        elif what == "allow_trial":
            breaker.allow_trial(now)
        elif out:
            generation, is_trial = out.pop(int(number * len(out)))
            if what == "succeeded":
                breaker.succeeded(generation, now)
            elif what == "left":
                breaker.release(generation)
            else:
                breaker.failed(generation, now, 5.0 if what == "asked" else None)
            if not was_closed and not is_trial and what != "succeeded":
                assert not breaker.closed
        assert breaker.trial_in(now) <= _RULES.max_open_time
        assert breaker.state(now) in {"closed", "open", "half_open"}


@given(events=_EVENTS)
def test_it_always_comes_back_once_the_provider_does(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(_RULES), 0.0
    out = []
    for what, number in events:
        if what == "wait":
            now += number
        elif what == "enter":
            out.append(breaker.acquire(now))
        elif out and what != "allow_trial":
            breaker.failed(out.pop(int(number * len(out))), now)
    for generation in out:
        breaker.release(generation)
    now += _RULES.max_open_time
    assert breaker.allows(now)
    breaker.succeeded(breaker.acquire(now), now)
    assert breaker.closed
