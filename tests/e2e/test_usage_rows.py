"""Usage rows name every fact of a request, and every request has exactly one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Desk
from tests.fakes.script import Script, error_script, script

FIELDS = {
    "request_id", "created_at", "credential", "provider", "model", "upstream_model", "endpoint", "method",
    "stream", "status_code", "outcome", "error_type", "prompt_tokens", "completion_tokens", "total_tokens",
    "cached_tokens", "reasoning_tokens", "usage_source", "request_bytes", "response_bytes", "latency_ms",
    "upstream_latency_ms", "ttft_ms", "attempts", "client_ip", "config_version", "cache_hit",
}  # fmt: skip


def when(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["created_at"])


def row_of(desk: Desk, answer: Any) -> dict[str, Any]:
    return desk.gateway.usage_row(answer.headers["x-request-id"])


@pytest.mark.parametrize("stream", [False, True])
def test_s0_9_s2_23_a_row_names_every_fact(desk: Desk, stream: bool) -> None:
    lane = desk.provider()
    assert desk.key
    version = desk.gateway.config_version()
    body = desk.body(stream=stream, fake=script(gap=0.02) if stream else script(delay=0.1))
    before = datetime.now(UTC)
    answer = desk.gateway.post("/v1/chat/completions", desk.key, json=body)
    row = row_of(desk, answer)
    assert set(row) >= FIELDS
    assert row["request_id"] == answer.headers["x-request-id"]
    assert before - timedelta(seconds=1) < when(row) < datetime.now(UTC) + timedelta(seconds=1)
    expected = {
        "credential": desk.name,
        "provider": lane.name,
        "model": desk.model,
        "upstream_model": desk.upstream_model,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": stream,
        "status_code": 200,
        "outcome": "ok",
        "error_type": None,
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "cached_tokens": 2,
        "reasoning_tokens": 1,
        "usage_source": "provider",
        "request_bytes": len(answer.request.content),
        "response_bytes": len(answer.content),
        "attempts": 1,
        "client_ip": "127.0.0.1",
        "cache_hit": False,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["config_version"] == version
    assert row["latency_ms"] >= row["upstream_latency_ms"] > 20
    if stream:
        assert 0 < row["ttft_ms"] <= row["latency_ms"]
    else:
        assert row["upstream_latency_ms"] >= 100
        assert row["ttft_ms"] is None


def test_a_row_is_there_as_soon_as_the_answer_is(desk: Desk) -> None:
    desk.provider()
    for stream in (False, True) * 5:
        answer = desk.chat(stream=stream)
        rows = desk.gateway.usage_rows(request_id=answer.headers["x-request-id"])
        assert [row["outcome"] for row in rows] == ["ok"]


def test_outcomes(desk: Desk) -> None:
    lane = desk.provider()
    plans: dict[str, tuple[Script, int, str | None]] = {
        "ok": (Script(), 200, None),
        "error 400": (error_script(400), 400, "invalid_value"),
        "error 500": (error_script(500), 502, "upstream_error"),
        "error 503": (error_script(503), 503, "upstream_unavailable"),
        "error reset": (Script(fault="reset", fault_at=0), 502, "upstream_cut"),
    }
    for name, (plan, status, error_type) in plans.items():
        lane.next.append(plan)
        answer = desk.chat()
        assert answer.status_code == status
        row = row_of(desk, answer)
        assert (row["outcome"], row["error_type"]) == (name.split()[0], error_type)
        assert (row["provider"], row["attempts"]) == (lane.name, 1)


def test_a_clients_own_request_id_is_kept_beside_ours(desk: Desk) -> None:
    desk.provider()
    answer = desk.gateway.post(
        "/v1/chat/completions", desk.key, json=desk.body(), headers={"x-request-id": "mine-1"}
    )
    row = row_of(desk, answer)
    assert row["client_request_id"] == "mine-1"
    assert row["request_id"] == answer.headers["x-request-id"] != "mine-1"


def test_rows_can_be_filtered(desk: Desk) -> None:
    lane = desk.provider()
    start = datetime.now(UTC)
    first = desk.chat()
    time.sleep(0.01)
    middle = datetime.now(UTC)
    lane.next.append(error_script(400))
    second = desk.chat(stream=True)
    first_id, second_id = (answer.headers["x-request-id"] for answer in (first, second))

    def found(**filters: Any) -> list[str]:
        return [row["request_id"] for row in desk.gateway.usage_rows(**filters)]

    assert set(found(model=desk.model)) == {first_id, second_id}
    assert set(found(credential=desk.name, model=desk.model)) == {first_id, second_id}
    assert set(found(provider=lane.name)) == {first_id, second_id}
    assert found(model=desk.model, outcome="ok") == [first_id]
    assert found(model=desk.model, outcome="error") == [second_id]
    assert found(model=desk.model, since=middle.isoformat()) == [second_id]
    assert found(model=desk.model, since=start.isoformat(), until=middle.isoformat()) == [first_id]
    assert found(request_id=second_id) == [second_id]
    assert found(model="none-such") == []


def test_rows_come_in_pages_newest_first(desk: Desk) -> None:
    desk.provider()
    ids = [desk.chat().headers["x-request-id"] for _ in range(5)]
    seen, cursor, pages = [], None, 0
    while True:
        query: dict[str, Any] = {"model": desk.model, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = desk.gateway.admin.get("/usage", params=query).json()
        seen += [row["request_id"] for row in page["data"]]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert pages == 3


@pytest.mark.parametrize(
    "query", [{"outcome": "fine"}, {"since": "yesterday"}, {"limit": 0}, {"limit": "x"}, {"cursor": "x"}]
)
def test_bad_filters_are_422(desk: Desk, query: dict[str, Any]) -> None:
    answer = desk.gateway.admin.get("/usage", params=query)
    assert answer.status_code == 422, answer.text
    assert next(iter(query)) in str(answer.json()["error"]["param"])


def test_rows_outlive_the_provider_and_the_credential(desk: Desk) -> None:
    lane = desk.provider()
    made = desk.gateway.admin.post("/credentials", json={"name": f"gone-{desk.number}"}).json()
    answer = desk.gateway.post("/v1/chat/completions", made["key"], json=desk.body())
    desk.gateway.admin.delete(f"/credentials/{made['id']}")
    desk.gateway.admin.delete(f"/providers/{lane.name}")
    row = row_of(desk, answer)
    assert (row["provider"], row["credential"]) == (lane.name, f"gone-{desk.number}")


def test_s1_7_s2_23_every_call_has_one_row(desk: Desk) -> None:
    lane = desk.provider()
    desk.failing(error_script(500), "bad")
    for number in range(20):
        desk.chat(stream=number % 2 == 0)
    rows = desk.gateway.usage_rows(model=desk.model)
    assert len(rows) == 20
    assert {row["request_id"] for row in rows} == {call.header("x-request-id") for call in lane.chats}
