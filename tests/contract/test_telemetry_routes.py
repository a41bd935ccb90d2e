"""`GET /admin/v1/telemetry` lists what clients reported: newest first, filtered, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.infra.json_lines import to_line
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened
from tests.fakes.usage_records import event, record

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


def told(minutes: int, **changes: Any) -> TelemetryEvent:
    at = int((NOON + timedelta(minutes=minutes)).timestamp()) * 1_000_000 + 7
    return event(f"e-{minutes}", **{"created_at": at, **changes})


async def put(desk: AdminClient, *events: TelemetryEvent) -> None:
    await desk.store.usage.upsert([to_line(one) for one in events])


async def test_an_event_is_shown_with_all_its_fields_and_flushed_first_s0_38(desk: AdminClient) -> None:
    await put(
        desk,
        told(
            0,
            end_user="ab1234",
            source_ip="127.0.0.1",
            client_ip="10.0.0.1",
            target_service="llm",
            endpoint="/x",
            method="POST",
            status_code=200,
            latency_ms=1.5,
            request_bytes=10,
            response_bytes=20,
            attributes={"client_id": "web", "n": {"a": [1]}},
        ),
    )
    await desk.store.usage.upsert([to_line(record("a"))])
    page = await desk.ask("GET", "/telemetry")
    assert desk.flushed == 1
    assert page == {
        "data": [
            {
                "event_id": "e-0",
                "created_at": "2026-01-31T12:00:00.000007Z",
                "event_type": "llm_request",
                "credential": "team",
                "end_user": "ab1234",
                "source_ip": "127.0.0.1",
                "request_id": "0190-mine",
                "client_ip": "10.0.0.1",
                "soeid": "ab1234",
                "project": "risk-analysis",
                "target_service": "llm",
                "endpoint": "/x",
                "method": "POST",
                "status_code": 200,
                "latency_ms": 1.5,
                "request_bytes": 10,
                "response_bytes": 20,
                "attributes": {"client_id": "web", "n": {"a": [1]}},
            }
        ],
        "next_cursor": None,
        "is_complete": True,
    }
    # An event is no request, even if it names one.
    assert [row["request_id"] for row in (await desk.ask("GET", "/usage"))["data"]] == ["a"]
    await desk.refused("GET", "/usage/0190-mine", 404)


async def test_event_filters(desk: AdminClient) -> None:
    await put(desk, *(told(n, soeid="ab"[n % 2], event_type="err" if n == 3 else "ok") for n in range(6)))

    async def ids(**params: Any) -> list[str]:
        return [row["event_id"] for row in (await desk.ask("GET", "/telemetry", params=params))["data"]]

    assert await ids() == [f"e-{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert await ids(soeid="a") == ["e-4", "e-2", "e-0"]
    assert await ids(event_type="err") == ["e-3"]
    assert await ids(soeid="b", event_type="ok") == ["e-5", "e-1"]
    assert await ids(since="2026-01-31T13:03:00+01:00", until="2026-01-31T12:05") == ["e-4", "e-3"]
    await put(desk, told(7, project="p", request_id="r", credential="c"))
    for name, value in (("project", "p"), ("request_id", "r"), ("credential", "c")):
        assert await ids(**{name: value}) == ["e-7"]
        assert await ids(**{name: "other"}) == []


async def test_event_pages(desk: AdminClient) -> None:
    await put(desk, *(told(n) for n in range(5)))
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await desk.ask(
            "GET", "/telemetry", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        seen += [row["event_id"] for row in page["data"]]
        cursor = page["next_cursor"]
        pages += 1
    assert (seen, pages) == ([f"e-{n}" for n in (4, 3, 2, 1, 0)], 3)


async def test_bad_event_filters_are_named(desk: AdminClient) -> None:
    await put(desk, told(1), told(2))
    await desk.store.usage.upsert([to_line(record(f"a{n}")) for n in range(2)])
    of_usage = (await desk.ask("GET", "/usage?limit=1"))["next_cursor"]
    for field, value in (
        ("since", "yesterday"), ("since", "1e300"), ("until", "9" * 30), ("limit", 0), ("limit", 1001),
        ("cursor", "x"), ("cursor", "YS5i"), ("cursor", of_usage), ("soeid", "a\0b"), ("event_type", "x" * 301),
        ("model", "gpt-4"),
    ):  # fmt: skip
        error = await desk.refused("GET", "/telemetry", params={field: value})
        assert error["param"] == field


async def test_a_list_that_may_lack_events_says_so(desk: AdminClient) -> None:
    desk.flushes = False
    assert (await desk.ask("GET", "/telemetry"))["is_complete"] is False
