"""`GET /admin/v1/usage/summary`: what it shows, in which time zone, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.times import read_time
from llm_gateway.infra.json_lines import to_line
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened
from tests.fakes.usage_records import record


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


async def put(desk: AdminClient, *rows: tuple[str, dict[str, Any]]) -> None:
    facts = [
        record(f"id-{number}", created_at=read_time(at), **rest) for number, (at, rest) in enumerate(rows)
    ]
    await desk.store.usage.upsert([to_line(fact) for fact in facts])


async def test_s2_24_s4_8_a_summary_shows_sums_and_percentiles_by_day_and_model(desk: AdminClient) -> None:
    await put(
        desk,
        ("2026-01-31T22:30:00Z", {"cost_nano_usd": 1, "latency_ms": 100.0, "ttft_ms": 10.0, "model": "a"}),
        ("2026-01-31T23:30:00Z", {"cost_nano_usd": 2_500_000_000, "latency_ms": 100.0, "model": "a"}),
        ("2026-02-01T10:00:00Z", {"model": "b", "unpriced": "unknown_model", "cost_source": "none"}),
        ("2026-02-01T10:00:00Z", {"outcome": "rejected", "status_code": 404, "model": "x", "prompt_tokens": None,
                                  "completion_tokens": None}),
    )  # fmt: skip
    shown = await desk.ask("GET", "/usage/summary?group_by=month,day,model&time_zone=Europe/Berlin")
    assert desk.flushed == 1
    assert {name: shown[name] for name in ("since", "until", "time_zone", "group_by", "is_complete")} == {
        "since": None,
        "until": None,
        "time_zone": "Europe/Berlin",
        "group_by": ["month", "day", "model"],
        "is_complete": True,
    }
    first, refused, last_a, last_b = shown["data"]
    assert first == {
        "day": "2026-01-31",
        "month": "2026-01",
        "start": "2026-01-30T23:00:00.000000Z",
        "end": "2026-01-31T23:00:00.000000Z",
        "model": "a",
        "requests": 1,
        **dict.fromkeys(("errors", "refused", "aborted", "cache_hits", "unpriced"), 0),
        "prompt_tokens": 3,
        "completion_tokens": 2,
        **dict.fromkeys(("cached_tokens", "cache_write_tokens", "reasoning_tokens"), 0),
        "cost_usd": "0.000000001",
        "latency_ms": dict.fromkeys(("p50", "p90", "p95", "p99"), first["latency_ms"]["p50"]),
        "ttft_ms": dict.fromkeys(("p50", "p90", "p95", "p99"), first["ttft_ms"]["p50"]),
    }
    assert abs(first["latency_ms"]["p50"] / 100 - 1) < 0.0444
    assert abs(first["ttft_ms"]["p50"] / 10 - 1) < 0.0444
    assert (refused["model"], refused["refused"], refused["cost_usd"]) == (None, 1, "0")
    assert refused["latency_ms"]["p50"] is None
    assert (last_a["day"], last_a["cost_usd"], last_a["ttft_ms"]["p50"]) == ("2026-02-01", "2.5", None)
    # A sum of unknown costs is not 0.
    assert (last_b["model"], last_b["cost_usd"], last_b["unpriced"]) == ("b", None, 1)
    assert (shown["total"]["cost_usd"], shown["total"]["unpriced"], shown["total"]["requests"]) == (
        "2.500000001",
        1,
        4,
    )


async def test_filters_and_borders_within_a_quarter_of_an_hour(desk: AdminClient) -> None:
    await put(
        desk,
        *((f"2026-01-31T12:{minute:02}:00Z", {"tenant": "t", "cost_nano_usd": 1}) for minute in range(30)),
        ("2026-01-31T12:07:00Z", {"tenant": "u", "cost_nano_usd": 1}),
    )

    async def requests(query: str) -> int:
        found: int = (await desk.ask("GET", f"/usage/summary?{query}"))["total"]["requests"]
        return found

    assert await requests("tenant=t") == 30
    assert await requests("tenant=u&model=gpt-4o") == 1
    assert await requests("tenant=t&project=none") == 0
    assert await requests("since=2026-01-31T12:07:00Z&until=2026-01-31T12:22:00.000001Z&tenant=t") == 16
    assert await requests("since=2026-01-31T12:07:00.000001Z&until=2026-01-31T12:22:00Z&tenant=t") == 14
    without = await desk.ask("GET", "/usage/summary?percentiles=false")
    assert "latency_ms" not in without["total"]
    assert without["data"][0].keys() == without["total"].keys()


async def test_an_hour_names_its_offset_where_clocks_are_set_back(desk: AdminClient) -> None:
    await put(desk, *((f"2026-10-25T0{hour}:30:00Z", {}) for hour in range(3)))
    shown = await desk.ask("GET", "/usage/summary?group_by=hour&time_zone=Europe/Berlin")
    assert [row["hour"] for row in shown["data"]] == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


@pytest.mark.parametrize(
    ("zone", "quarters"),
    [
        ("Asia/Kolkata", ["2026-11-29T05:30+05:30", "2026-11-29T05:45+05:30", "2026-11-29T06:30+05:30"]),
        ("Asia/Kathmandu", ["2026-11-29T05:45+05:45", "2026-11-29T06:00+05:45", "2026-11-29T06:45+05:45"]),
    ],
)
async def test_quarters_of_an_hour_in_zones_of_half_hours(
    desk: AdminClient, zone: str, quarters: list[str]
) -> None:
    await put(
        desk, *((f"2026-11-29T{at}Z", {}) for at in ("00:00:00", "00:14:59.999999", "00:15:00", "01:14:59"))
    )
    shown = await desk.ask("GET", f"/usage/summary?group_by=quarter,hour&time_zone={zone}")
    assert [row["quarter"] for row in shown["data"]] == quarters
    assert [row["requests"] for row in shown["data"]] == [2, 1, 1]
    assert shown["data"][0]["end"] == "2026-11-29T00:15:00.000000Z"


@pytest.mark.parametrize(
    ("query", "param", "named"),
    [
        ("group_by=day,shoe_size", "group_by", "shoe_size"),
        ("time_zone=Mars/Olympus", "time_zone", "Mars/Olympus"),
        ("time_zone=../../etc/passwd", "time_zone", "time zone"),
        ("since=yesterday", "since", "ISO 8601"),
        ("model=a%00b", "model", "NUL"),
        ("percentiles=perhaps", "percentiles", ""),
        ("group_bye=day", "group_bye", "unknown query parameter"),
    ],
)
async def test_a_faulty_question_names_its_parameter(
    desk: AdminClient, query: str, param: str, named: str
) -> None:
    error = await desk.refused("GET", f"/usage/summary?{query}", 422)
    assert error["param"] == param
    assert named in error["message"]


async def test_too_many_groups_are_refused(desk: AdminClient) -> None:
    await put(desk, ("2020-01-01T00:00:00Z", {}), ("2026-01-01T00:00:00Z", {}))
    error = await desk.refused("GET", "/usage/summary?group_by=hour", 422)
    assert "10,000 groups" in error["message"]
    assert len((await desk.ask("GET", "/usage/summary?group_by=day"))["data"]) == 2


async def test_a_border_among_deleted_rows_is_refused(desk: AdminClient) -> None:
    await put(desk, ("2026-01-31T12:03:00Z", {}), ("2026-01-31T12:33:00Z", {}))
    await desk.store.sql("DELETE FROM usage")
    error = await desk.refused("GET", "/usage/summary?since=2026-01-31T12:01:00Z", 422)
    assert "2026-01-31T12:00:00.000000Z" in error["message"]
    whole = await desk.ask("GET", "/usage/summary?since=2026-01-31T12:15:00Z")
    assert whole["total"]["requests"] == 1


async def test_a_summary_without_any_rows_is_empty(desk: AdminClient) -> None:
    shown = await desk.ask("GET", "/usage/summary?group_by=day,credential")
    assert (shown["data"], shown["total"]["requests"], shown["total"]["cost_usd"]) == ([], 0, "0")
    desk.flushes = False
    assert not (await desk.ask("GET", "/usage/summary"))["is_complete"]
