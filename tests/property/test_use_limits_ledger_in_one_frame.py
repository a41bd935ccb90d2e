"""A request of one account is admitted, counted and refused in one frame as by the rules for all cases."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, Shortage
from llm_gateway.infra.use_limits.ledger import Admitted, UseLedger
from llm_gateway.infra.use_limits.memory import CHUNKS, LocalMemory

SECOND = 1_000_000_000
DAY_US = 86_400_000_000
FEW = st.none() | st.integers(0, 6)
LIMITS = st.builds(
    Limits,
    requests_per_second=st.sampled_from([None, None, None, 5]),
    requests_per_minute=FEW,
    requests_per_day=FEW,
    tokens_per_minute=st.none() | st.integers(0, 60),
    tokens_per_day=st.none() | st.integers(0, 60),
    concurrent_requests=FEW,
)
HOLDS = st.tuples(st.just("hold"), st.integers(1, 2), st.integers(0, 30))
ENDS = st.tuples(st.just("end"), st.integers(0, 9), st.integers(-1, 30))
WAITS = st.tuples(st.just("wait"), st.integers(0, 90), st.sampled_from([0, 1, -1]))


class Plain(UseLedger):
    """Admits every request by the rules for all cases."""

    def _hold_one(self, claim: Claim) -> None:
        del claim


class Machine:
    def __init__(self, kind: type[UseLedger]) -> None:
        self.now, self.unix_us = 1000 * SECOND, 20_000 * DAY_US
        self.memory = LocalMemory()
        self.ledger = kind(self.memory, 0, UTC, monotonic_ns=lambda: self.now, unix_us=lambda: self.unix_us)
        self.open: list[Admitted] = []

    def step(self, what: str, first: int, second: int, limits: Limits) -> Any:
        if what == "wait":
            self.now += first * SECOND
            self.unix_us += second * DAY_US
            return None
        if what == "end":
            if self.open:
                admitted = self.open.pop(first % len(self.open))
                if second < 0:
                    self.ledger.release(admitted.taken)
                else:
                    self.ledger.settle(admitted.taken, second)
            return None
        answer = self.ledger.hold([Claim(first, limits, second)])
        if isinstance(answer, Shortage):
            return answer
        self.open.append(answer)
        # The day tells nothing where neither requests nor tokens of a day are counted.
        taken = [
            (
                one.key,
                one.hold,
                one.second,
                one.minute,
                one.day if one.counts_day or one.counts_token_day else None,
            )
            for one in answer.taken
        ]
        return taken, answer.has_holds, answer.requests, answer.tokens

    def cells(self) -> list[bytes]:
        return [bytes(self.memory.head), *map(bytes, map(self.memory.chunk, range(self.memory.head[CHUNKS])))]


@given(LIMITS, st.lists(HOLDS | HOLDS | ENDS | WAITS, max_size=40))
def test_both_ways_leave_the_same_ledger(limits: Limits, steps: list[tuple[str, int, int]]) -> None:
    fast, plain = Machine(UseLedger), Machine(Plain)
    for step in steps:
        assert fast.step(*step, limits) == plain.step(*step, limits)
        assert fast.cells() == plain.cells()
