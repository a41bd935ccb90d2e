"""What usage records add up to: counts, tokens, cost, and how long requests took."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from llm_gateway.core.ledger.histogram import Histogram, add_encoded, add_times, bucket_of
from llm_gateway.core.ledger.records import UsageRecord

# In this order in `UsageTotals.counts`.
COUNTS: Final = (
    "requests",
    "errors",
    "refused",
    "aborted",
    "cache_hits",
    "unpriced",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
# What 64 bits hold. Sums stop there, so that an absurd count of one provider does not stop all others.
_MOST: Final = 2**63 - 1
# Longest text of a key, in bytes: five of them fit an index entry of PostgreSQL.
_MOST_BYTES: Final = 500
# A refused request names a model that exists only if it got as far as a limit.
_AT_A_LIMIT: Final = frozenset({402, 403, 429})
# Where in `UsageTotals.counts` the requests of an outcome count, too; those of any other but `ok` are errors.
_OUTCOMES: Final = {"rejected": 2, "aborted": 3}
_ERRORS: Final = 1
# Outcomes whose latency says nothing about how long requests take.
_WITHOUT_LATENCY: Final = frozenset({"rejected", "interrupted"})
_TOKENS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_numbers: Final = attrgetter("requests", "cost_nano_usd", "latency_ms", "ttft_ms", "cache_hit", *_TOKENS)
# Fewer records are added up one by one as fast.
_FEW: Final = 4


class UsageKey(NamedTuple):
    """Whose usage is added up: None is what has no name."""

    credential: str | None
    tenant: str | None
    project: str | None
    provider: str | None
    model: str | None


def key_of(record: UsageRecord) -> UsageKey:
    """Return the key that a record counts under. The model of a refused request may not exist, and is left out."""
    model = record.model
    if record.outcome == "rejected" and record.status_code not in _AT_A_LIMIT:
        model = None
    return UsageKey(
        _bounded(record.credential),
        _bounded(record.tenant),
        _bounded(record.project),
        _bounded(record.provider),
        _bounded(model),
    )


def _is_unpriced(record: UsageRecord) -> bool:
    is_used = record.prompt_tokens or record.completion_tokens or record.unpriced is not None
    return record.cost_nano_usd is None and bool(is_used)


def _bounded(text: str | None) -> str | None:
    if text is None or len(text) <= _MOST_BYTES // 4:
        return text
    return text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")


class UsageTotals:
    """Sums over usage records. `latency` and `first_token` are histograms.

    `errors` are requests that failed or were interrupted, `refused` those that were refused before a provider was
    asked, `aborted` those whose client disconnected; all are part of `requests`. `unpriced` is the number of requests
    that used tokens at an unknown cost. The latency of a request that was refused or interrupted is not counted.
    """

    __slots__ = ("counts", "first_token", "latency")

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTS)
        self.latency: Histogram = {}
        self.first_token: Histogram = {}

    def add(self, record: UsageRecord, sign: int = 1) -> None:
        """Add a record; with `sign` -1, take it away."""
        outcome = record.outcome
        requests = record.requests * sign
        counts = self.counts
        counts[0] += requests
        if outcome != "ok":
            if outcome == "rejected":
                counts[2] += requests
            elif outcome == "aborted":
                counts[3] += requests
            else:
                counts[1] += requests
        if record.cache_hit:
            counts[4] += requests
        prompt, completion = record.prompt_tokens or 0, record.completion_tokens or 0
        if (cost := record.cost_nano_usd) is not None:
            counts[11] += cost * sign
        elif prompt or completion or record.unpriced is not None:
            counts[5] += requests
        counts[6] += prompt * sign
        counts[7] += completion * sign
        if cached := record.cached_tokens:
            counts[8] += cached * sign
        if written := record.cache_write_tokens:
            counts[9] += written * sign
        if reasoning := record.reasoning_tokens:
            counts[10] += reasoning * sign
        if outcome == "ok" or outcome not in {"rejected", "interrupted"}:
            bucket = bucket_of(record.latency_ms)
            self.latency[bucket] = self.latency.get(bucket, 0) + requests
        if record.ttft_ms is not None:
            bucket = bucket_of(record.ttft_ms)
            self.first_token[bucket] = self.first_token.get(bucket, 0) + requests

    def add_alike(self, records: Sequence[UsageRecord]) -> None:
        """Add records that have the same `outcome`, as `add` does.

        It is faster for many of them, because a field is added up for all of them by one call.
        """
        each, costs, latencies, first_tokens, cache_hits, *tokens = zip(*map(_numbers, records), strict=True)
        if len(each) < _FEW or each.count(1) != len(each):
            for record in records:
                self.add(record)
            return
        outcome, counts = records[0].outcome, self.counts
        counts[0] += len(each)
        if outcome != "ok":
            counts[_OUTCOMES.get(outcome, _ERRORS)] += len(each)
        if any(cache_hits):
            counts[4] += sum(cache_hits)
        if None in costs:
            if costs.count(None) == len(costs) and all(tokens[0]):
                counts[5] += len(costs)
            else:
                counts[5] += sum(map(_is_unpriced, records))
        for place, column in enumerate((*tokens, costs), 6):
            counts[place] += sum(filter(None, column))
        if outcome not in _WITHOUT_LATENCY:
            add_times(self.latency, latencies)
        add_times(self.first_token, [ms for ms in first_tokens if ms is not None])

    def copy(self) -> UsageTotals:
        """Return totals of their own that are equal."""
        copy = UsageTotals()
        copy.counts, copy.latency, copy.first_token = (
            self.counts.copy(),
            self.latency.copy(),
            self.first_token.copy(),
        )
        return copy

    def merge(self, other: UsageTotals, sign: int = 1) -> None:
        """Add what `other` adds up to; with `sign` -1, take it away."""
        self.add_counts(other.counts if sign == 1 else [count * sign for count in other.counts])
        for mine, theirs in ((self.latency, other.latency), (self.first_token, other.first_token)):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count * sign

    def add_counts(self, counts: Sequence[int]) -> None:
        """Add numbers in the order of COUNTS."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]

    def merge_stored(self, counts: Sequence[int], latency: bytes, first_token: bytes) -> None:
        """Add totals as they are stored: numbers in the order of COUNTS, and encoded histograms."""
        self.add_counts(counts)
        add_encoded(self.latency, latency)
        add_encoded(self.first_token, first_token)

    def storable_counts(self) -> list[int]:
        """Return the counts, clipped to what 64 bits hold."""
        return [min(max(count, -_MOST), _MOST) for count in self.counts]
