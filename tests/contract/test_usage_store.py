"""Every usage store keeps one row per request and one per attempt, however often and in which order facts arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.ledger import RecordsRejected
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import InMemoryUsageStore, failed_attempt

NOW = 1_790_000_000_123_457


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


class Subject(Protocol):
    """A usage store, and a way to read back what it holds."""

    async def put(self, facts: Sequence[UsageRecord | AttemptEnded]) -> None:
        """Store `facts` in one batch."""

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        """Return a request's attempts, in order."""

    async def rows(self) -> list[UsageRecord]:
        """Return every row, newest first."""


class Table:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, facts: Sequence[UsageRecord | AttemptEnded]) -> None:
        await put(self._store, facts)

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        return await self._store.usage.attempts(request_id)

    async def rows(self) -> list[UsageRecord]:
        return await everything(self._store)


class Memory:
    def __init__(self) -> None:
        self._store = InMemoryUsageStore()

    async def put(self, facts: Sequence[UsageRecord | AttemptEnded]) -> None:
        await self._store.upsert([to_line(fact) for fact in facts])

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        return [row for key, row in sorted(self._store.attempts.items()) if key[0] == request_id]

    async def rows(self) -> list[UsageRecord]:
        rows = self._store.rows.values()
        return sorted(rows, key=lambda row: (row.created_at, row.request_id), reverse=True)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Return where the subject stores its rows: "memory", a URL, or None for the SQLite file in `data_dir`."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return None if request.param == "sqlite" else "memory"


@pytest.fixture
async def subject(database: str | None, data_dir: Path) -> AsyncIterator[Subject]:
    """Yield each implementation of the port in turn, including the one that other tests use."""
    if database == "memory":
        yield Memory()
        return
    async with opened(database, data_dir, start=False) as store:
        yield Table(store)


def fact(number: int = 0, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": f"id-{number:06}",
        "created_at": NOW + number,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": False,
        "status_code": 200,
        "outcome": "ok",
        "credential": "me",
        "provider": "main",
        "model": "gpt-4",
        "latency_ms": 12.25,
    }
    return UsageRecord(**values | changes)


async def put(store: Store, facts: Sequence[UsageRecord | AttemptEnded]) -> None:
    await store.usage.upsert([to_line(fact) for fact in facts])


async def everything(store: Store, **wanted: Any) -> list[UsageRecord]:
    return await store.usage.list(UsageFilter(**wanted), None, 10_000)


async def test_the_same_facts_again_change_nothing(subject: Subject) -> None:
    facts = [fact(number) for number in range(50)]
    await subject.put(facts)
    await subject.put([*facts[10:], fact(50), *facts[:10]])
    await subject.put([fact(3, outcome="error", status_code=500)])
    await subject.put([])
    assert await subject.rows() == [fact(50), *facts[::-1]]


@pytest.mark.parametrize("together", [True, False])
async def test_a_true_end_beats_an_interruption_whichever_comes_first(
    subject: Subject, together: bool
) -> None:
    end, broken = fact(1), fact(1, outcome="interrupted", status_code=0)
    other_end, other_broken = fact(2), fact(2, outcome="interrupted", status_code=0)
    batches = [[end, other_broken], [broken, other_end]]
    for batch in [batches[0] + batches[1]] if together else batches:
        await subject.put(batch)
    assert await subject.rows() == [other_end, end]


async def test_of_two_interruptions_the_later_attempt_stays(subject: Subject) -> None:
    first = fact(1, outcome="interrupted", attempts=1, provider="a")
    second = fact(1, outcome="interrupted", attempts=2, provider="b")
    for batch in ([first], [second], [first]):
        await subject.put(batch)
    assert await subject.rows() == [second]


async def test_a_batch_is_stored_whole_or_not_at_all(subject: Subject) -> None:
    with pytest.raises(RecordsRejected) as refused:
        await subject.put([fact(1, model="private"), fact(2, endpoint=None)])
    assert "private" not in str(refused.value)
    assert await subject.rows() == []


async def test_batches_from_several_shippers_do_not_disturb_one_another(subject: Subject) -> None:
    facts = [fact(number) for number in range(600)]
    batches = [facts[start : start + 200] for start in range(0, 401, 100)] * 2
    await asyncio.gather(*(subject.put(batch) for batch in batches))
    assert await subject.rows() == facts[::-1]


LAST = AttemptEnded(
    request_id="id-000001",
    attempt=3,
    started_at=NOW + 5_000,
    provider="main",
    model="gpt-4",
    upstream_model="gpt-4-turbo",
    outcome="ok",
    status=200,
    latency_ms=7.25,
    ttft_ms=1.5,
    prompt_tokens=1,
    completion_tokens=2,
    total_tokens=3,
    cached_tokens=0,
    reasoning_tokens=0,
    usage_source="provider",
)


def request_of_three(**changes: Any) -> UsageRecord:
    """Return the record of a request whose third attempt is LAST."""
    values: dict[str, Any] = {
        "created_at": NOW,
        "attempts": 3,
        "attempt_started_at": NOW + 5_000,
        "upstream_model": "gpt-4-turbo",
        "upstream_latency_ms": 7.25,
        "ttft_ms": 6.5,
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "usage_source": "provider",
    }
    return fact(1, **values | changes)


async def test_a_record_is_stored_with_its_last_attempt(subject: Subject) -> None:
    failed = [failed_attempt("id-000001", attempt=number, status=500 + number) for number in (1, 2)]
    await subject.put([failed[0], failed[1], request_of_three()])
    assert await subject.attempts("id-000001") == [*failed, LAST]
    assert await subject.attempts("id-000002") == []


async def test_the_same_attempts_again_change_nothing(subject: Subject) -> None:
    failed = failed_attempt("id-000001")
    for _ in range(2):
        await subject.put([failed, request_of_three()])
        await subject.put([request_of_three(), failed, failed, request_of_three()])
    await subject.put([failed_attempt("id-000001", status=429)])
    assert await subject.attempts("id-000001") == [failed, LAST]


async def test_a_failed_attempts_own_fact_beats_what_its_request_says(subject: Subject) -> None:
    failed = failed_attempt("id-000001", attempt=3, next_step="give_up")
    end = request_of_three(outcome="error", status_code=502, error_type="upstream_error")
    await subject.put([end, failed])
    await subject.put([end])
    assert await subject.attempts("id-000001") == [failed]


async def test_a_request_that_called_nobody_has_no_attempts(subject: Subject) -> None:
    await subject.put([fact(1, outcome="rejected", status_code=403), fact(2, cache_hit=True)])
    assert await subject.attempts("id-000001") == await subject.attempts("id-000002") == []


@pytest.mark.parametrize("together", [True, False])
async def test_an_interrupted_attempt_is_replaced_by_its_true_end(subject: Subject, together: bool) -> None:
    broken = request_of_three(
        outcome="interrupted", status_code=0, error_type="interrupted", upstream_latency_ms=None, ttft_ms=None
    )
    for batch in (
        [[broken, request_of_three(), broken]] if together else [[broken], [request_of_three()], [broken]]
    ):
        await subject.put(batch)
    assert await subject.attempts("id-000001") == [LAST]


async def test_an_interruption_alone_is_an_interrupted_attempt(subject: Subject) -> None:
    await subject.put([fact(1, outcome="interrupted", status_code=0, error_type="interrupted", attempts=2)])
    [row] = await subject.attempts("id-000001")
    assert (row.attempt, row.outcome, row.status, row.reason) == (2, "interrupted", None, "interrupted")
    # Written before records knew when their last attempt started.
    assert row.started_at == NOW + 1


async def test_attempts_with_odd_values_are_stored(subject: Subject) -> None:
    odd = failed_attempt(
        "id-000001", model="nul \0 byte", upstream_model="half \ud800 surrogate", detail="x" * 1000
    )
    await subject.put([odd, request_of_three(attempts=1, prompt_tokens=10**30)])
    [row] = await subject.attempts("id-000001")
    assert (row.status, row.outcome) == (503, "error")
    assert len(await subject.rows()) == 1
