"""`/admin/v1/usage` lists what the issue names, filtered and in pages, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.json_lines import to_line
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened
from tests.fakes.usage_records import failed_attempt


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        yield desk


USAGE_FIELDS = {
    "request_id", "created_at", "finished_at", "credential", "provider", "model", "upstream_model", "endpoint",
    "method", "stream", "status_code", "outcome", "error_type", "prompt_tokens", "completion_tokens",
    "total_tokens", "cached_tokens", "reasoning_tokens", "usage_source", "request_bytes", "response_bytes",
    "latency_ms", "upstream_latency_ms", "ttft_ms", "attempts", "client_ip", "config_version",
    "client_request_id", "cache_hit", "cost_usd", "cost_source", "unpriced", "cost_breakdown", "price_version",
    "requested_tier", "served_tier", "cache_write_tokens", "cached_in_prompt", "tenant", "project", "agent",
    "end_user", "channel", "soeid", "tags", "requests", "quantities", "temperature",
}  # fmt: skip
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def fact(minutes: int, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": f"id-{minutes}",
        "created_at": int((NOON + timedelta(minutes=minutes)).timestamp()) * 1_000_000 + 7,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": False,
        "status_code": 200,
        "outcome": "ok",
        "credential": "me",
        "provider": "main",
        "model": "gpt-4",
    }
    return UsageRecord(**values | changes)


async def test_usage_rows_have_the_issues_fields_and_are_flushed_first(desk: AdminClient) -> None:
    await desk.store.usage.upsert([to_line(fact(0, prompt_tokens=3, ttft_ms=1.5))])
    page = await desk.ask("GET", "/usage")
    assert desk.flushed == 1
    (row,) = page["data"]
    assert set(row) == USAGE_FIELDS
    assert row["created_at"] == "2026-01-31T12:00:00.000007Z"
    assert (row["prompt_tokens"], row["ttft_ms"], row["total_tokens"], row["stream"]) == (3, 1.5, None, False)


async def test_usage_filters(desk: AdminClient) -> None:
    rows = [fact(n, credential="ab"[n % 2], outcome="error" if n == 3 else "ok") for n in range(6)]
    await desk.store.usage.upsert([to_line(row) for row in rows])

    async def ids(**params: Any) -> list[str]:
        return [row["request_id"] for row in (await desk.ask("GET", "/usage", params=params))["data"]]

    assert await ids() == [f"id-{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert await ids(credential="a") == ["id-4", "id-2", "id-0"]
    assert await ids(outcome="error") == ["id-3"]
    assert await ids(request_id="id-2") == ["id-2"]
    assert await ids(provider="main", model="gpt-4", credential="b", outcome="ok") == ["id-5", "id-1"]
    assert await ids(model="other") == []
    unix = NOON.timestamp()
    for since in (
        "2026-01-31T12:03:00Z",
        "2026-01-31T13:03:00+01:00",
        "2026-01-31T12:03",
        unix + 180,
        int(unix) + 180,
    ):
        assert await ids(since=since, until="2026-01-31T12:05:00.000007Z") == ["id-4", "id-3"], since
    assert await ids(until="2026-01-31") == []
    # A "+" that the caller forgot to encode.
    answer = await desk.client.get("/admin/v1/usage?since=2026-01-31T13:05:00+01:00")
    assert [row["request_id"] for row in answer.json()["data"]] == ["id-5"]
    of = fact(7, request_id="of", tenant="t", project="p", agent="a", end_user="u")
    await desk.store.usage.upsert([to_line(of)])
    for name, value in (("tenant", "t"), ("project", "p"), ("agent", "a"), ("end_user", "u")):
        assert await ids(**{name: value}) == ["of"]
        assert await ids(**{name: "other"}) == []


async def test_usage_pages(desk: AdminClient) -> None:
    await desk.store.usage.upsert([to_line(fact(n)) for n in range(5)])
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await desk.ask("GET", "/usage", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [row["request_id"] for row in page["data"]]
        cursor = page["next_cursor"]
        pages += 1
    assert (seen, pages) == ([f"id-{n}" for n in (4, 3, 2, 1, 0)], 3)


async def test_bad_usage_filters_are_named(desk: AdminClient) -> None:
    for field, value in (
        ("outcome", "fine"), ("since", "yesterday"), ("since", "1e300"), ("since", "2026-13-01"), ("since", ""),
        ("until", "9" * 30), ("limit", 0), ("limit", 1001), ("cursor", "x"), ("cursor", "YS5i"),
        ("cursor", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkueA"), ("model", "a\0b"), ("credential", "x" * 301),
    ):  # fmt: skip
        error = await desk.refused("GET", "/usage", params={field: value})
        assert error["param"] == field


async def test_one_request_is_shown_with_its_attempts_in_order(desk: AdminClient) -> None:
    end = fact(0, attempts=2, upstream_latency_ms=5.0, prompt_tokens=3, client_request_id="mine")
    await desk.store.usage.upsert(
        [to_line(end), to_line(failed_attempt("id-0")), to_line(fact(1, attempts=1))]
    )
    row = await desk.ask("GET", "/usage/id-0")
    assert desk.flushed == 1
    assert set(row) == USAGE_FIELDS | {"attempt_details"}
    assert (row["request_id"], row["attempts"], row["prompt_tokens"]) == ("id-0", 2, 3)
    first, second = row["attempt_details"]
    assert first == {
        "attempt": 1,
        "started_at": "2025-06-15T15:06:40.000100Z",
        "provider": "main",
        "model": "gpt-4o",
        "upstream_model": "gpt-4o-2024-08-06",
        "outcome": "error",
        "status": 503,
        "reason": "status",
        "detail": "status 503",
        "next_step": "failover",
        "latency_ms": 2.5,
        "ttft_ms": None,
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")),
        **dict.fromkeys(("reasoning_tokens", "usage_source", "cache_write_tokens", "served_tier")),
        **dict.fromkeys(("cost_usd", "cost_source", "unpriced", "cost_breakdown", "price_version")),
        "quantities": None,
    }
    assert (second["attempt"], second["outcome"], second["status"], second["latency_ms"]) == (
        2,
        "ok",
        200,
        5.0,
    )


@pytest.mark.parametrize("request_id", ["none-such", "mine", "a%00b"])
async def test_a_request_without_a_row_is_not_found(desk: AdminClient, request_id: str) -> None:
    """A client's own id of the request does not find it."""
    await desk.store.usage.upsert([to_line(fact(0, client_request_id="mine"))])
    error = await desk.refused("GET", f"/usage/{request_id}", 404)
    assert error["code"] == "not_found"
    assert "usage row" in error["message"]
    assert request_id.split("%", maxsplit=1)[0] in error["message"]


async def test_an_export_by_the_end_misses_no_long_request_and_goes_on_where_it_ended(
    desk: AdminClient,
) -> None:
    """A request that began first may end last: by its start, an export that has read on would never see it."""
    await desk.store.usage.upsert([to_line(fact(minutes, latency_ms=1000.0)) for minutes in (1, 2)])
    seen, cursor = [], None
    query = "/usage?order=finished_at&limit=1"
    for _ in range(3):
        page = await desk.ask("GET", query + (f"&cursor={cursor}" if cursor else ""))
        seen += [row["request_id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert seen == ["id-1", "id-2"]
    await desk.store.usage.upsert([to_line(fact(0, latency_ms=300_000.0)), to_line(fact(3, latency_ms=0.5))])
    page = await desk.ask("GET", f"/usage?order=finished_at&cursor={cursor}")
    assert [row["request_id"] for row in page["data"]] == ["id-3", "id-0"]
    assert page["data"][1]["finished_at"] == "2026-01-31T12:05:00.000007Z"


async def test_an_export_that_finds_nothing_starts_at_the_beginning_again(desk: AdminClient) -> None:
    page = await desk.ask("GET", "/usage?order=finished_at")
    assert (page["data"], page["next_cursor"]) == ([], None)


async def test_filters_by_the_end(desk: AdminClient) -> None:
    await desk.store.usage.upsert([to_line(fact(minutes, latency_ms=60_000.0)) for minutes in range(4)])
    page = await desk.ask(
        "GET", "/usage?finished_since=2026-01-31T12:02:00.000007Z&finished_until=2026-01-31T12:04:00Z"
    )
    assert [row["request_id"] for row in page["data"]] == ["id-2", "id-1"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (
            "sinse=2026-01-31",
            "sinse: unknown query parameter; GET /admin/v1/usage takes agent, channel, credential",
        ),
        ("model=a&model=b", "model: sent more than once"),
        ("limit=5&Limit=6", "Limit: unknown"),
    ],
)
async def test_a_filter_that_does_not_exist_is_refused_and_not_ignored(
    desk: AdminClient, query: str, named: str
) -> None:
    error = await desk.refused("GET", f"/usage?{query}", 422)
    assert error["message"].startswith(named)
    assert error["param"] == named.partition(":")[0]


async def test_a_list_that_may_lack_rows_says_so(desk: AdminClient) -> None:
    await desk.store.usage.upsert([to_line(fact(0))])
    assert (await desk.ask("GET", "/usage"))["is_complete"] is True
    desk.flushes = False
    page = await desk.ask("GET", "/usage")
    assert (page["is_complete"], len(page["data"])) == (False, 1)
    assert (await desk.ask("GET", "/usage/id-0"))["request_id"] == "id-0"
    error = await desk.refused("GET", "/usage/id-1", 503)
    assert "may follow" in error["message"]


@pytest.mark.parametrize("digits", [19, 20, 4301, 5000])
@pytest.mark.parametrize("resource", ["providers", "credentials", "models", "task_types"])
async def test_an_id_of_any_length_is_not_found(desk: AdminClient, resource: str, digits: int) -> None:
    for method in ("GET", "DELETE"):
        await desk.refused(method, f"/{resource}/{'9' * digits}", 404)
