"""Telemetry events in both databases: every field, hostile values, duplicates, pages, deletion, and no sums."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.flow.ports.ledger import RecordsRejected
from llm_gateway.flow.ports.telemetry import EventFilter, EventPlace
from llm_gateway.flow.ports.usage import SummaryQuery, UsageFilter
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.telemetry.storing import EVENT_COLUMNS
from llm_gateway.infra.database.usage.retention import UsageRetention
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import event, failed_attempt, record

NOW = 1_790_000_000_123_457


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


def told(number: int, **changes: Any) -> TelemetryEvent:
    return event(f"e-{number:06}", **{"created_at": NOW + number, **changes})


async def put(store: Store, *events: TelemetryEvent) -> None:
    await store.usage.upsert([to_line(one) for one in events])


async def everything(store: Store, **wanted: Any) -> Sequence[TelemetryEvent]:
    return await store.events.list(EventFilter(**wanted), None, 10_000)


def test_the_columns_are_those_of_an_event() -> None:
    assert set(EVENT_COLUMNS) == set(TelemetryEvent.__struct_fields__)


async def test_every_field_comes_back_as_it_was_s1_6(store: Store) -> None:
    full = TelemetryEvent(
        event_id="0190-full",
        created_at=NOW,
        event_type="llm_request",
        credential="surface:ping",
        end_user="ab1234",
        source_ip="::1",
        request_id="mine é",
        client_ip="10.1.2.3",
        soeid="ab1234",
        project="risk-analysis",
        target_service="llm",
        endpoint="/api/llm/completion",
        method="POST",
        status_code=2**40,
        latency_ms=12.125,
        request_bytes=7,
        response_bytes=2**50,
        attributes={"client_id": "web", "n": [1, 2.5, None, True], "é": {"ü": "\U0001f600"}},
    )
    bare = TelemetryEvent(event_id="0190-bare", created_at=NOW + 1, event_type="", credential="me")
    await put(store, full, bare)
    assert await everything(store) == [bare, full]
    nothing = await store.sql(
        "SELECT latency_ms, request_bytes, response_bytes, status_code, attributes FROM telemetry_events "
        "WHERE event_id = '0190-bare'"
    )
    assert nothing == [(None,) * 5]


async def test_an_event_that_comes_again_stays_as_it_was(store: Store) -> None:
    await put(store, told(1), told(1, soeid="later"), told(2))
    await put(store, told(2, event_type="changed"), told(3))
    assert await everything(store) == [told(3), told(2), told(1)]


async def test_all_kinds_of_lines_are_stored_together_or_not_at_all(store: Store) -> None:
    good = [to_line(told(1)), to_line(record("a")), to_line(failed_attempt("b"))]
    for bad in (b'{"t":"event","event_id":"torn"}', b'{"t":"event","event_id":"x","attributes":[1]}', b"{"):
        with pytest.raises(RecordsRejected):
            await store.usage.upsert([*good, bad])
    assert await everything(store) == []
    await store.usage.upsert(good)
    assert await everything(store) == [told(1)]
    assert [row.request_id for row in await store.usage.list(UsageFilter(), None, 9)] == ["a"]


async def test_nothing_that_a_client_reports_keeps_a_batch_from_being_stored_s0_38(store: Store) -> None:
    odd = [
        told(1, event_type="nul \0 byte", attributes={"a\0": "b\0"}),
        told(2, soeid="half \ud800 surrogate"),
        told(3, endpoint="x" * 100_000, method="y" * 100_000),
        told(4, status_code=10**30, request_bytes=-(10**30), response_bytes=2**63),
        told(5, project="'; DROP TABLE telemetry_events; --"),
        told(6, attributes={"n": 10**400, "deep": [[[[{"a": []}]]]], "": ""}),
        told(7, latency_ms=1e308, credential="\U0001f600" * 5000),
        told(8, latency_ms=-0.0, attributes={}),
        told(9, attributes={"dollar": "$1", "colon": ":ids", "percent": "%s", "backslash": "\\u0000 \\"}),
    ]
    await put(store, *odd)
    rows = {one.event_id: one for one in await everything(store)}
    assert len(rows) == 9
    assert rows["e-000001"].event_type == "nul \ufffd byte"
    assert rows["e-000001"].attributes == {"a\ufffd": "b\ufffd"}
    assert rows["e-000002"].soeid == "half ? surrogate"
    assert rows["e-000003"].endpoint == "x" * 256
    assert rows["e-000004"].status_code == rows["e-000004"].response_bytes == 2**63 - 1
    assert rows["e-000004"].request_bytes == 1 - 2**63
    assert rows["e-000005"] == odd[4]
    assert (rows["e-000006"].attributes or {})["deep"] == [[[[{"a": []}]]]]
    assert (rows["e-000007"].latency_ms, rows["e-000007"].credential) == (None, "\U0001f600" * 256)
    assert rows["e-000008"] == odd[7]
    assert rows["e-000009"].attributes is not None


async def test_filters_narrow_down_together(store: Store) -> None:
    events = [
        told(
            number,
            event_type="abc"[number % 3],
            soeid="xy"[number % 2],
            project=f"p{number % 5}",
            request_id=f"r{number % 7}",
            credential="kl"[number % 2],
        )
        for number in range(40)
    ]
    await put(store, *events)

    def those(keep: Any) -> list[TelemetryEvent]:
        return [one for one in events[::-1] if keep(one)]

    for name, value in (
        *(("event_type", "b"), ("soeid", "y"), ("project", "p3")),
        *(("request_id", "r5"), ("credential", "k")),
    ):
        assert await everything(store, **{name: value}) == those(
            lambda one, n=name, v=value: getattr(one, n) == v
        )
    assert await everything(store, since=NOW + 5, until=NOW + 8) == events[5:8][::-1]
    assert await everything(store, soeid="x", event_type="c", since=NOW + 9) == those(
        lambda one: one.soeid == "x" and one.event_type == "c" and one.created_at >= NOW + 9
    )
    assert await everything(store, soeid="nobody") == []


async def test_pages_hold_every_event_once_even_within_one_microsecond(store: Store) -> None:
    events = [told(number, created_at=NOW + number // 10) for number in range(57)]
    await put(store, *events)
    seen: list[TelemetryEvent] = []
    after: EventPlace | None = None
    while page := await store.events.list(EventFilter(credential="team"), after, 7):
        assert len(page) <= 7
        seen += page
        after = EventPlace(page[-1].created_at, page[-1].event_id)
        # An event that comes in meanwhile, newer than the page, disturbs nothing.
        await put(store, told(1000 + len(seen)))
    assert seen == sorted(events, key=lambda one: (one.created_at, one.event_id), reverse=True)


@pytest.mark.parametrize("name", ["", "event_type", "credential", "soeid", "project", "request_id"])
async def test_pages_walk_along_an_index(store: Store, name: str) -> None:
    filled = {name: "v3"} if name else {}
    await put(store, *(told(number, **(filled if number % 7 == 3 else {})) for number in range(2000)))
    if store.is_postgres:
        await store.sql("ANALYZE telemetry_events")
    where = f"WHERE {name} = 'v3' AND" if name else "WHERE"
    now = "now()" if store.is_postgres else NOW * 2
    query = (
        f"SELECT * FROM telemetry_events {where} (created_at, event_id) < ({now}, 'zz') "
        "ORDER BY created_at DESC, event_id DESC LIMIT 100"
    )
    plan = await store.sql(("EXPLAIN " if store.is_postgres else "EXPLAIN QUERY PLAN ") + query)
    text = " ".join(str(row) for row in plan)
    assert "ix_telemetry_events_" in text, text
    assert "Sort" not in text, text
    assert "TEMP B-TREE" not in text, text


async def test_events_are_never_in_sums_and_cost_nothing(store: Store) -> None:
    await put(store, *(told(number, request_id="a", latency_ms=9.0) for number in range(20)))
    await store.usage.upsert([to_line(record("a", created_at=NOW, cost_nano_usd=5))])
    summary = await store.usage.summarize(SummaryQuery())
    assert dict(zip(("requests",), summary.total.counts, strict=False)) == {"requests": 1}
    totals = await store.usage.totals(UsageFilter())
    assert (totals.requests, totals.cost_nano_usd, totals.mean_latency_ms) == (1, 5, 12.5)
    assert await store.sql("SELECT count(*) FROM usage") == [(1,)]
    assert await store.sql("SELECT count(*) FROM usage_attempts") == [(1,)]


async def test_old_events_are_deleted_oldest_first_and_usage_rows_stay(store: Store) -> None:
    await put(store, *(told(number) for number in range(700)))
    await store.usage.upsert([to_line(record("a", created_at=NOW))])
    retention = UsageRetention(store.engine, SystemClock())
    assert await retention.delete_events(NOW + 450, 60.0) == 450
    assert await retention.delete_events(NOW + 450, 60.0) == 0
    assert [one.event_id for one in await everything(store)] == [f"e-{n:06}" for n in range(699, 449, -1)]
    assert await store.sql("SELECT count(*) FROM usage") == [(1,)]


async def test_an_event_that_was_changed_by_hand_is_shown_as_far_as_it_can_be_read(store: Store) -> None:
    await put(store, told(1, attributes={"a": 1}), told(2))
    values = {"attributes": "'[1]'", "latency_ms": "'infinity'" if store.is_postgres else "'x'"}
    changes = ", ".join(f"{name} = {value}" for name, value in values.items())
    await store.sql(f"UPDATE telemetry_events SET {changes} WHERE event_id = 'e-000001'")
    [second, first] = await everything(store)
    assert second == told(2)
    assert first == msgspec.structs.replace(told(1), attributes=None, latency_ms=None)
