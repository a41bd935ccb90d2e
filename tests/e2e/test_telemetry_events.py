"""Events that clients report reach the database exactly once, past outages and kills, and are never billed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import accepted, eventually
from tests.e2e.sql import run_sql
from tests.e2e.test_usage_outage import backed_up, chat, spool, usage
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream

# S1's documented event.
EVENT = {
    "event_type": "llm_request",
    "request_id": "mine-1",
    "client_ip": "10.1.2.3",
    "metadata": {
        "client_id": "web",
        "soeid": "ab1234",
        "project_name": "risk-analysis",
        "target_service": "llm",
        "endpoint": "/api/llm/completion",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 125.5,
        "request_size": 512,
        "response_size": 1024,
    },
}


def report(desk: Desk, **changes: Any) -> str:
    """Report an event, which must not wait for any database, and return its id."""
    answer = desk.gateway.http.post(
        "/telemetry", headers={"X-API-Token": desk.key}, json=EVENT | changes, timeout=2
    )
    event_id: str = accepted(answer)["id"]
    return event_id


def listed(desk: Desk, **filters: Any) -> list[dict[str, Any]]:
    page = accepted(desk.gateway.admin.get("/telemetry", params={"limit": 1000, **filters}))
    rows: list[dict[str, Any]] = page["data"]
    return rows


def copied(desk: Desk) -> Iterator[dict[str, str]]:
    path = Path(desk.gateway.settings["DATA_DIR"]) / "telemetry_logs" / "telemetry.csv"
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def check_stored(desk: Desk, ids: list[str]) -> None:
    """Check that the database has each event once."""
    rows = run_sql(desk.gateway, "SELECT event_id FROM telemetry_events")
    assert sorted(row[0] for row in rows) == sorted(ids)


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_s1_6_an_event_is_listed_as_it_was_reported_and_costs_nothing(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    desk = Desk(launch(store, WORKERS=workers), fake)
    desk.provider()
    asked = chat(desk)
    event_id = report(desk, request_id=asked)
    report(desk, event_type="other", metadata={})
    [row] = listed(desk, request_id=asked)
    assert row == {
        "event_id": event_id,
        "created_at": row["created_at"],
        "event_type": "llm_request",
        "credential": desk.name,
        "end_user": None,
        "source_ip": "127.0.0.1",
        "request_id": asked,
        "client_ip": "10.1.2.3",
        "soeid": "ab1234",
        "project": "risk-analysis",
        "target_service": "llm",
        "endpoint": "/api/llm/completion",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 125.5,
        "request_bytes": 512,
        "response_bytes": 1024,
        "attributes": {"client_id": "web"},
    }
    assert len(listed(desk)) == 2
    assert [one["event_type"] for one in listed(desk, soeid="ab1234")] == ["llm_request"]
    # Never billed, and no request: lists, sums and metrics know of the chat alone.
    assert [one["request_id"] for one in desk.gateway.usage_rows()] == [asked]
    summary = accepted(desk.gateway.admin.get("/usage/summary"))
    assert (summary["total"]["requests"], summary["total"]["prompt_tokens"]) == (1, 9)
    metrics = accepted(desk.gateway.http.get("/metrics", headers={"accept": "application/json"}))
    assert metrics["requests"] == 1
    own = accepted(desk.gateway.http.get("/v1/usage", headers={"authorization": f"Bearer {desk.key}"}))
    assert [one["request_id"] for one in own["data"]] == [asked]


@pytest.mark.parametrize(("workers", "dies"), [(1, False), (2, True)])
def test_s1_22_the_backup_takes_events_and_gives_them_back_once(
    launch: Launch,
    fake: FakeUpstream,
    proxy: TcpProxy,
    proxied_url: str,
    tmp_path: Path,
    workers: int,
    dies: bool,
) -> None:
    backup = tmp_path / "backup.db"
    desk = Desk(launch(DB_URL=proxied_url, BACKUP_DB_URL=f"sqlite:///{backup}", WORKERS=workers), fake)
    ids = [report(desk)]
    eventually(lambda: listed(desk), lambda rows: len(rows) == 1)
    proxy.cut()
    ids += [report(desk) for _ in range(10)]
    eventually(lambda: backed_up(backup), lambda lines: len(lines) >= 10, 20)
    assert {json.loads(line)["t"] for line in backed_up(backup)} == {"event"}
    # The backup is not read: what it has is a part only.
    assert desk.gateway.admin.get("/telemetry").status_code == 503
    if dies:
        desk.gateway.kill()
        desk.gateway.start()
        ids += [report(desk) for _ in range(3)]
    proxy.restore()
    eventually(lambda: usage(desk), lambda shown: shown["store"] == "primary", 20)
    ids.append(report(desk))
    eventually(lambda: listed(desk), lambda rows: len(rows) == len(ids), 20)
    eventually(lambda: usage(desk), lambda shown: not shown["backup_holds_records"], 20)
    assert backed_up(backup) == []
    check_stored(desk, ids)
    assert [row["event_id"] for row in listed(desk)] == ids[::-1]
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []


def test_s1_22_without_a_backup_events_are_in_the_csv_copy_and_counted_in_the_spool(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str
) -> None:
    desk = Desk(launch(DB_URL=proxied_url), fake)
    desk.provider()
    ids = [report(desk)]
    eventually(lambda: listed(desk), lambda rows: len(rows) == 1)
    proxy.cut()
    later = [report(desk, request_id=f"r{number}") for number in range(5)]
    asked = chat(desk)
    rows = eventually(lambda: list(copied(desk)), lambda found: len(found) == 6, 2)
    events = [row for row in rows if row["event_type"]]
    assert [row["event_id"] for row in events] == later
    assert [row["request_id"] for row in events] == [f"r{number}" for number in range(5)]
    assert {(row["soeid"], row["project"], row["target_service"]) for row in events} == {
        ("ab1234", "risk-analysis", "llm")
    }
    assert json.loads(events[0]["attributes"]) == {"client_id": "web"}
    assert [row["request_id"] for row in rows if not row["event_type"]] == [asked]
    shown = json.loads(spool(desk, "--json").stdout)["databases"][0]["processes"][0]["waiting"]
    assert (shown["records"], shown["events"]) == (1, 5)
    assert "1 request, 0 failed attempts and 5 events" in spool(desk).stdout
    desk.gateway.kill()
    proxy.restore()
    shipped = spool(desk, "--ship")
    assert shipped.returncode == 0, shipped.stderr
    check_stored(desk, ids + later)
    desk.gateway.start()
    eventually(lambda: list(copied(desk)), lambda found: not found, 30)
    check_stored(desk, ids + later)
    assert desk.gateway.stop() == 0
