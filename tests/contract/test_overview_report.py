"""The overview's report has exactly the numbers of the usage rows and of the admin API's summary, on both stores."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.console.overview import report as reports
from llm_gateway.console.overview.ranges import RANGES
from llm_gateway.console.overview.report import RANKED, Report, read_report
from llm_gateway.core.ledger.records import Outcome, UsageRecord
from llm_gateway.flow.ports.usage import SummaryTooLarge
from llm_gateway.flow.ports.workers import SharedDeploymentState
from llm_gateway.infra.json_lines import to_line
from tests.fakes.admin_client import admin_client
from tests.fakes.console_app import services
from tests.fakes.console_client import FakeDeploymentStates
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import record

MINUTE = 60_000_000
# 2026-11-29, 14:37 UTC.
NOW = 1_795_963_020_000_000
OUTCOMES: tuple[Outcome, ...] = ("ok", "ok", "ok", "ok", "error", "aborted", "rejected", "interrupted")


class Clock:
    def unix_us(self) -> int:
        return NOW


def rows(number: int) -> list[UsageRecord]:
    """Return requests of a month, most of them of the last hours."""
    dice = random.Random(number)
    found = []
    for at in range(number):
        outcome = dice.choice(OUTCOMES)
        used = outcome not in {"rejected", "interrupted"}
        found.append(
            record(
                f"id-{at}",
                created_at=NOW - int(dice.random() ** 4 * 31 * 1440 * MINUTE),
                outcome=outcome,
                status_code=429 if outcome == "rejected" else 200,
                model=dice.choice("abcdefghijklmn"),
                credential=dice.choice(["<script>", "team", "other"]),
                provider=dice.choice(["main", "second"]) if used else None,
                latency_ms=dice.lognormvariate(5, 1),
                ttft_ms=dice.lognormvariate(3, 1) if used else None,
                prompt_tokens=dice.randrange(5000) if used else None,
                completion_tokens=dice.randrange(500) if used else None,
                cost_nano_usd=dice.choice([None, dice.randrange(10**9)]) if used else None,
                cache_hit=outcome == "ok" and dice.random() < 0.1,
                requests=dice.randrange(1, 20) if outcome == "rejected" else 1,
            )
        )
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


async def read(store: Store, name: str, zone: str = "UTC", *, is_flushed: bool = True) -> Report:
    async def flush() -> bool:
        return is_flushed

    store.worker_registry.inside = 3
    states = FakeDeploymentStates()
    states.shared = [deployment("b", open_in=1), deployment("a", open_in=2), deployment("a"), deployment("c")]
    made = services(
        usage=store.usage,
        clock=Clock(),
        machine=store.worker_registry,
        deployment_states=states,
        flush=flush,
        time_zone=zone,
    )
    return await read_report(made, RANGES[name])


def deployment(provider: str, *, open_in: int = 0) -> SharedDeploymentState:
    return SharedDeploymentState(
        provider_key=provider,
        upstream_model="m",
        open=open_in,
        half_open=0,
        closed=2 - open_in,
        trial_in=None,
        in_flight=0,
    )


def added(records: list[UsageRecord]) -> dict[str, Any]:
    """Add rows up, without any of the gateway's code."""
    count: Counter[str] = Counter()
    for one in records:
        count["requests"] += one.requests
        count[{"rejected": "refused", "aborted": "aborted", "ok": "ok"}.get(one.outcome, "errors")] += (
            one.requests
        )
        count["tokens"] += (one.prompt_tokens or 0) + (one.completion_tokens or 0)
        count["cost"] += one.cost_nano_usd or 0
        is_used = one.prompt_tokens or one.completion_tokens
        count["unpriced"] += bool(is_used and one.cost_nano_usd is None)
        count["cache_hits"] += one.cache_hit
    return count


def same(sums: reports.Sums, records: list[UsageRecord]) -> None:
    expected = added(records)
    for name in ("requests", "ok", "errors", "refused", "aborted", "tokens", "unpriced", "cache_hits"):
        assert sums.values[name] == expected[name], name
    assert sums.totals.counts[-1] == expected["cost"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
async def test_every_number_is_that_of_the_rows_and_of_the_admin_api(
    url: str | None, data_dir: Path, zone: str
) -> None:
    stored = rows(600)
    async with opened(url, data_dir) as store, admin_client(store) as desk:
        await store.usage.upsert([to_line(one) for one in stored])
        for name, wanted in RANGES.items():
            shown = await read(store, name, zone)
            window = shown.window
            inside = [one for one in stored if window.start <= one.created_at < window.end]
            assert len(inside) > 20
            same(shown.total, inside)
            # A number of the charts is one of the admin API's summary, and of the rows of its period.
            query = f"since={window.start / 1e6}&until={window.end / 1e6}&time_zone={zone}"
            summary = await desk.ask("GET", f"/usage/summary?{query}&group_by={wanted.unit}")
            values = [point.values for point in shown.points if point.values["requests"]]
            assert len(values) == len(summary["data"])
            for value, line in zip(
                [*values, shown.total.values], [*summary["data"], summary["total"]], strict=True
            ):
                assert {key: value[key] for key in line if key in value} == {
                    key: line[key] for key in line if key in value
                }
                assert {"requests", "errors", "cost_usd", "unpriced", "latency_ms", "ttft_ms"} <= line.keys()
            assert sum(point.totals.counts[-1] for point in shown.points) == shown.total.totals.counts[-1]
            for dimension in RANKED:
                by_name = defaultdict(list)
                for one in inside:
                    by_name[getattr(one, dimension)].append(one)
                ranked = shown.ranked[dimension]
                assert ranked is not None
                assert len(ranked) == min(len(by_name), 10)
                for sums in ranked:
                    same(sums, by_name[sums.name])
                counted = [sums.values["requests"] for sums in ranked]
                assert counted == sorted(counted, reverse=True)
            assert (shown.in_flight, shown.is_complete, shown.has_any) == (3, True, True)


async def test_right_now_is_what_ended_in_the_last_five_minutes(url: str | None, data_dir: Path) -> None:
    async with opened(url, data_dir) as store:
        at = NOW - 5 * MINUTE
        facts = [
            record("before", created_at=at - 20_000, latency_ms=19.0),
            record("ended", created_at=at - 20_000, latency_ms=20.0),
            record("failed", created_at=NOW - MINUTE, outcome="error", cost_nano_usd=5),
        ]
        await store.usage.upsert([to_line(one) for one in facts])
        shown = await read(store, "1h")
    assert (shown.recent.requests, shown.recent.ok, shown.per_minute) == (2, 1, 0.4)
    assert (shown.recent.cost_nano_usd, shown.recent.unpriced) == (5, 1)
    assert shown.failing == ["a", "b"]


async def test_a_gateway_without_requests_and_one_whose_requests_are_old(data_dir: Path) -> None:
    async with opened(None, data_dir) as store:
        empty = await read(store, "24h", is_flushed=False)
        assert (empty.has_any, empty.is_complete, empty.total.values["cost_usd"]) == (False, False, "0")
        assert len(empty.points) == 25
        await store.usage.upsert([to_line(record("old", created_at=NOW - 400 * 1440 * MINUTE))])
        shown = await read(store, "30d")
    assert (shown.has_any, shown.total.values["requests"]) == (True, 0)
    assert shown.ranked == {name: [] for name in RANKED}


async def test_too_many_names_are_not_ranked(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(None, data_dir) as store:
        await store.usage.upsert([to_line(record("one", created_at=NOW))])
        summarize = store.usage.summarize

        async def refuse(query: Any) -> Any:
            if query.group_by == ("credential",):
                raise SummaryTooLarge
            return await summarize(query)

        monkeypatch.setattr(store.usage, "summarize", refuse)
        shown = await read(store, "24h")
    assert shown.ranked["credential"] is None
    assert shown.ranked["model"]
