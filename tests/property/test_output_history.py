"""The quantile of replies, which is followed from its last place, is that of all of them added up."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm_gateway.flow.accounting import holds
from llm_gateway.flow.accounting.holds import OutputHistory

_BUCKET = st.sampled_from([0, 1, holds._BUCKETS - 1]) | st.integers(0, holds._BUCKETS - 1)
_TOKENS = st.integers(0, 5000) | st.sampled_from([2**24, 2**24 + 1, 10**9])


class _Added:
    """The same by adding up."""

    def __init__(self) -> None:
        self.counts = [0] * holds._BUCKETS
        self.recount_at = self.last_p99 = 0

    def add(self, bucket: int, number: int) -> None:
        self.counts[bucket] += number
        if sum(self.counts) >= holds._MANY:
            self.forget()

    def forget(self) -> None:
        self.counts, self.recount_at = [count // 2 for count in self.counts], 0

    def merge(self, other: _Added) -> None:
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.recount_at = 0

    def p99(self) -> int:
        samples = sum(self.counts)
        if samples >= self.recount_at:
            self.recount_at = samples + max(samples // 100, 1)
            bucket = bisect_left(list(accumulate(self.counts)), math.ceil(0.99 * samples))
            self.last_p99 = math.ceil(2 ** ((bucket - 1) / holds._STEPS)) if bucket else 0
        return self.last_p99


class Histories(RuleBasedStateMachine):
    """Two histories, each kept in both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = (OutputHistory(), OutputHistory())
        self.added = (_Added(), _Added())

    @rule(which=st.integers(0, 1), bucket=_BUCKET, number=st.integers(0, 40) | st.integers(0, 5000))
    def add_several(self, which: int, bucket: int, number: int) -> None:
        self.kept[which].add_to(bucket, number)
        self.added[which].add(bucket, number)

    @rule(which=st.integers(0, 1), tokens=_TOKENS)
    def add(self, which: int, tokens: int) -> None:
        self.kept[which].add(tokens)
        self.added[which].add(holds._bucket(tokens), 1)

    @rule(which=st.integers(0, 1))
    def forget(self, which: int) -> None:
        self.kept[which].forget()
        self.added[which].forget()

    @rule(which=st.integers(0, 1))
    def merge(self, which: int) -> None:
        self.kept[which].merge(self.kept[1 - which])
        self.added[which].merge(self.added[1 - which])

    @rule(which=st.integers(0, 1))
    def ask(self, which: int) -> None:
        assert self.kept[which].p99() == self.added[which].p99()

    @invariant()
    def nothing_is_lost(self) -> None:
        for kept, added in zip(self.kept, self.added, strict=True):
            assert kept.counts == added.counts
            assert kept.samples == sum(kept.counts)


TestHistories = Histories.TestCase
TestHistories.settings = settings(stateful_step_count=40)
