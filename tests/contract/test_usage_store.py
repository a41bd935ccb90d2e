"""Every usage store keeps one row a request, whatever its values; databases list rows newest first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.ledger import RecordsRejected
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace
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


async def test_every_field_comes_back_as_it_was(store: Store) -> None:
    full = UsageRecord(
        request_id="0190-full",
        created_at=NOW,
        endpoint="/v1/completions",
        method="POST",
        stream=True,
        status_code=502,
        outcome="error",
        client_request_id="mine",
        credential="me é",
        provider="main",
        model="gpt-4",
        upstream_model="gpt-4-turbo",
        error_type="upstream_cut",
        prompt_tokens=1,
        completion_tokens=2,
        total_tokens=3,
        cached_tokens=4,
        reasoning_tokens=5,
        usage_source="counted",
        request_bytes=6,
        response_bytes=7,
        latency_ms=8.5,
        upstream_latency_ms=9.125,
        ttft_ms=10.0,
        attempts=2,
        client_ip="::1",
        config_version=2**40,
        cache_hit=True,
    )
    bare = fact(7)
    await put(store, [full, bare])
    assert await everything(store) == [bare, full]


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


async def test_nothing_that_a_client_sends_keeps_a_batch_from_being_stored(store: Store) -> None:
    odd = [
        fact(1, model="nul \0 byte", client_request_id="\0"),
        fact(2, model="half \ud800 surrogate"),
        fact(3, model="x" * 100_000, client_request_id="y" * 100_000),
        fact(4, prompt_tokens=10**30, completion_tokens=-(10**30)),
        fact(5, model="'; DROP TABLE usage; --"),
        fact(6, model="\U0001f600" * 5000),
    ]
    await put(store, odd)
    rows = {row.request_id: row for row in await everything(store)}
    assert len(rows) == 6
    assert rows["id-000001"].model == "nul \ufffd byte"
    assert rows["id-000002"].model == "half ? surrogate"
    assert rows["id-000003"].model == "x" * 256
    assert rows["id-000004"].prompt_tokens == 2**63 - 1
    assert rows["id-000005"].model == "'; DROP TABLE usage; --"


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


async def test_filters_narrow_down_together(store: Store) -> None:
    facts = [
        fact(number, credential="ab"[number % 2], provider="xyz"[number % 3], model=f"m{number % 5}")
        for number in range(30)
    ]
    facts.append(fact(30, outcome="rejected", status_code=401, credential=None, provider=None, model=None))
    await put(store, facts)

    def those(keep: Any) -> list[UsageRecord]:
        return [row for row in facts[::-1] if keep(row)]

    for name, value in (("credential", "a"), ("provider", "y"), ("model", "m4"), ("outcome", "rejected")):
        assert await everything(store, **{name: value}) == those(
            lambda row, n=name, v=value: getattr(row, n) == v
        )
    assert await everything(store, request_id="id-000009") == [facts[9]]
    assert await everything(store, since=NOW + 5, until=NOW + 8) == facts[5:8][::-1]
    assert await everything(store, credential="a", model="m0", since=NOW + 11) == those(
        lambda row: row.credential == "a" and row.model == "m0" and row.created_at >= NOW + 11
    )
    assert await everything(store, model="nobody") == []


async def test_pages_hold_every_row_once_even_within_one_microsecond(store: Store) -> None:
    facts = [fact(number, created_at=NOW + number // 10) for number in range(57)]
    await put(store, facts)
    seen: list[UsageRecord] = []
    after: UsagePlace | None = None
    while page := await store.usage.list(UsageFilter(credential="me"), after, 7):
        assert len(page) <= 7
        seen += page
        after = UsagePlace(page[-1].created_at, page[-1].request_id)
        # A row that comes in meanwhile, newer than the page, disturbs nothing.
        await put(store, [fact(1000 + len(seen))])
    assert seen == sorted(facts, key=lambda row: (row.created_at, row.request_id), reverse=True)


async def test_pages_walk_along_an_index(store: Store) -> None:
    """Ten million rows must not be sorted for a page of a hundred."""
    await put(store, [fact(number, model=f"m{number % 7}") for number in range(3000)])
    if store.is_postgres:
        await store.sql("ANALYZE usage")
    for clause in ("", "WHERE model = 'm3' AND", "WHERE credential = 'me' AND", "WHERE outcome = 'ok' AND"):
        where = f"{clause or 'WHERE'} (created_at, request_id) < ({{now}}, 'zz')".format(
            now="now()" if store.is_postgres else NOW * 2
        )
        query = f"SELECT * FROM usage {where} ORDER BY created_at DESC, request_id DESC LIMIT 100"
        plan = await store.sql(("EXPLAIN " if store.is_postgres else "EXPLAIN QUERY PLAN ") + query)
        text = " ".join(str(row) for row in plan)
        assert "ix_usage_" in text, text
        assert "Sort" not in text, text
        assert "TEMP B-TREE" not in text, text


async def test_what_is_stored_is_what_the_admin_lists(store: Store) -> None:
    names = set(UsageRecord.__struct_fields__)
    await put(store, [fact()])
    (row,) = await everything(store)
    assert set(msgspec.to_builtins(row)) - {"t"} == names


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
