"""Events that clients report arrive in the admin API as they were sent, on both stores, and cost nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.ping.conftest import SECRET, PingDesk
from tests.fakes.upstream import FakeUpstream

METADATA = {
    "client_id": "risk-app",
    "soeid": "ab1234",
    "project_name": "risk-analysis",
    "target_service": "custom",
    "endpoint": "/custom",
    "method": "POST",
    "status_code": 200,
    "latency_ms": 100.25,
    "request_size": 50,
    "response_size": 200,
    "build": {"number": 7, "tags": ["a", None], "text": "naïve\n😀 \u2028"},
}


def listed(gateway: GatewayProcess, **filters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = accepted(gateway.admin.get("/telemetry", params=filters))["data"]
    return rows


@pytest.mark.parametrize(("store", "workers"), [("sqlite", 1), ("postgresql", 2)])
def test_an_event_is_stored_as_it_was_sent_s0_38_s1_6_s1_19_s1_20_s1_21(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    gateway = launch(store, TOKEN_SECRET=SECRET, WORKERS=workers)
    ping = PingDesk(gateway, fake)
    answer = ping.post(
        "/telemetry",
        json={
            "event_type": "custom_event",
            "request_id": "test-123",
            "client_ip": "10.1.2.3",
            "metadata": METADATA,
        },
    )
    assert answer.status_code == 200, answer.text
    sent = answer.json()
    assert [*sent] == ["id", "status", "timestamp"]
    assert sent["id"] == answer.headers["x-request-id"]
    (row,) = eventually(lambda: listed(gateway, soeid="ab1234"), bool)
    arrived = datetime.fromisoformat(row.pop("created_at"))
    assert abs(arrived - datetime.fromisoformat(sent["timestamp"])) < timedelta(milliseconds=1)
    assert abs(arrived - datetime.now(UTC)) < timedelta(minutes=1)
    assert row == {
        "event_id": sent["id"],
        "event_type": "custom_event",
        "credential": "surface:ping",
        "end_user": ping.user,
        "source_ip": "127.0.0.1",
        "request_id": "test-123",
        "client_ip": "10.1.2.3",
        "soeid": "ab1234",
        "project": "risk-analysis",
        "target_service": "custom",
        "endpoint": "/custom",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 100.25,
        "request_bytes": 50,
        "response_bytes": 200,
        "attributes": {name: METADATA[name] for name in ("client_id", "build")},
    }
    # An event is no request to a model: nothing is billed, and no usage row is left.
    assert gateway.usage_rows() == []
    assert accepted(gateway.admin.get("/usage/summary"))["data"] == []
    # Many at once, over all workers: each is there, once.
    ids = {
        ping.post("/telemetry", json={"event_type": "many", "request_id": str(number)}).json()["id"]
        for number in range(40)
    }
    rows = eventually(lambda: listed(gateway, event_type="many"), lambda rows: len(rows) >= 40)
    assert {row["event_id"] for row in rows} == ids
    assert len(rows) == 40
    assert all(row["soeid"] is None and row["attributes"] is None for row in rows)


def test_who_reports_must_be_known(ping: PingDesk) -> None:
    for token in (None, "1", "unknown", "a.b.c"):
        answer = ping.post("/telemetry", token, json={"event_type": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    disabled = ping.gateway.create_credential(f"off-{ping.number}", is_enabled=False)
    assert ping.post("/telemetry", disabled, json={"event_type": "x"}).status_code == 401
    key = ping.gateway.create_credential(f"on-{ping.number}")
    answer = ping.post("/telemetry", key, json={"event_type": f"of-{ping.number}"})
    assert answer.status_code == 200
    (row,) = eventually(lambda: listed(ping.gateway, event_type=f"of-{ping.number}"), bool)
    assert (row["credential"], row["end_user"]) == (f"on-{ping.number}", None)


def test_an_event_that_is_refused_is_not_stored(ping: PingDesk) -> None:
    kind = f"bad-{ping.number}"
    refused: list[dict[str, Any]] = [
        {"event_type": kind, "colour": "red"},
        {"event_type": kind, "metadata": {"status_code": "two hundred"}},
        {"event_type": kind, "metadata": {"own": "x" * 20_000}},
    ]
    for body in refused:
        answer = ping.post("/telemetry", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"][0]["loc"][0] == "body"
    assert (
        ping.post("/telemetry", json={"event_type": kind, "metadata": {"a": "x" * 50_000}}).status_code == 413
    )
    assert listed(ping.gateway, event_type=kind) == []


def test_info_is_open_unless_there_is_a_token_for_operators_s0_22_s0_24_s0_25_s0_36(launch: Launch) -> None:
    info = accepted(launch(TOKEN_SECRET=SECRET).http.get("/info"))
    assert (info["status"], info["service"]) == ("ok", "llm-gateway")
    assert SECRET not in str(info)
    assert info["limits"] == {"requests_per_minute": 120, "llm_timeout": 60.0, "retry_attempts": 3}
    assert info["defaults"] == {"model": "gpt-4", "max_tokens": 2000, "temperature": 0.7}
    gateway = launch(TOKEN_SECRET=SECRET, OPS_TOKEN="operators-alone-0123456789")
    assert gateway.http.get("/info").status_code == 401
    answer = gateway.http.get("/info", headers={"authorization": "Bearer operators-alone-0123456789"})
    assert answer.status_code == 200
