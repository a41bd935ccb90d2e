"""However requests and failures come, further attempts stay within a tenth of the requests and a small constant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.routing.retry import RetryBudget

_STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.3, 2.0]), st.integers(0, 30), st.integers(0, 30), st.booleans()),
    max_size=80,
)


@given(steps=_STEPS)
def test_over_any_span_the_budget_keeps_its_bound(steps: list[tuple[float, int, int, bool]]) -> None:
    budget, now, granted = RetryBudget(), 0.0, 0
    history = [(now, 0, 0)]
    for wait, requests, wishes, give_back in steps:
        now += wait
        budget.requests += requests
        for _ in range(wishes):
            in_flight = 50
            if budget.acquire(now, in_flight):
                granted += 1
                assert budget.in_use <= max(3, 0.2 * (in_flight + budget.in_use))
        while give_back and budget.in_use:
            budget.release()
        history.append((now, budget.requests, granted))
    for index, (begun, before, had) in enumerate(history):
        for ended, after, has in history[index:]:
            assert has - had <= 10 + 0.1 * (after - before) + 0.1 * (ended - begun) + 1e-6
