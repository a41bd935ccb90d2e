"""Every attempt of a request has a row: of a failover, a stream, and a gateway that was killed."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream


def usage_of(gateway: GatewayProcess, request_id: str) -> dict[str, Any]:
    row: dict[str, Any] = accepted(gateway.admin.get(f"/usage/{request_id}"))
    assert [attempt["attempt"] for attempt in row["attempt_details"]] == list(range(1, row["attempts"] + 1))
    return row


def started(attempt: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(attempt["started_at"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_failover_shows_each_attempt_with_its_reason(desk: Desk, stream: bool) -> None:
    desk.failing(error_script(500), "broken")
    desk.failing(Script(fault="reset", fault_at=0), "cut")
    good = desk.provider("good")
    answers = [desk.chat(stream=stream) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    rows = [usage_of(desk.gateway, answer.headers["x-request-id"]) for answer in answers]
    row = next(row for row in rows if row["attempts"] == 3)
    *failed, last = row["attempt_details"]
    assert {
        attempt["provider"].split("-")[0]: (attempt["reason"], attempt["status"]) for attempt in failed
    } == {"broken": ("status", 500), "cut": ("cut", None)}
    assert {(attempt["outcome"], attempt["next_step"]) for attempt in failed} == {("error", "failover")}
    assert {(attempt["total_tokens"], attempt["ttft_ms"]) for attempt in failed} == {(None, None)}
    assert (last["provider"], last["outcome"], last["status"], last["reason"]) == (good.name, "ok", 200, None)
    assert (last["total_tokens"], last["usage_source"]) == (13, "provider")
    assert last["latency_ms"] == row["upstream_latency_ms"]
    assert (last["ttft_ms"] is not None) is stream
    assert not stream or 0 < last["ttft_ms"] < row["ttft_ms"]
    times = [datetime.fromisoformat(row["created_at"]), *map(started, row["attempt_details"])]
    assert times == sorted(times)


def test_one_attempt_is_shown_too_and_a_rejected_request_has_none(desk: Desk) -> None:
    desk.provider()
    row = usage_of(desk.gateway, desk.chat().headers["x-request-id"])
    assert [attempt["outcome"] for attempt in row["attempt_details"]] == ["ok"]
    rejected = desk.gateway.post("/v1/chat/completions", desk.key, json=desk.body(model="none-such"))
    assert usage_of(desk.gateway, rejected.headers["x-request-id"])["attempt_details"] == []


def test_the_last_of_several_failures_says_what_the_provider_did(desk: Desk) -> None:
    desk.failing(error_script(500), "broken")
    answer = desk.chat()
    assert answer.status_code == 502
    *_, last = usage_of(desk.gateway, answer.headers["x-request-id"])["attempt_details"]
    assert (last["outcome"], last["status"], last["next_step"]) == ("error", 500, "give_up")


def test_an_unknown_request_is_not_found(desk: Desk) -> None:
    answer = desk.gateway.admin.get("/usage/none-such")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert "none-such" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_kill_9_in_an_attempt_leaves_it_interrupted(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers)
    desk = Desk(gateway, fake)
    broken = desk.failing(error_script(500), "broken", weight=100)
    slow = desk.failing(Script(delay=30.0), "slow")

    def ask() -> None:
        with suppress(httpx.HTTPError):
            desk.chat()

    client = threading.Thread(target=ask)
    client.start()
    try:
        eventually(lambda: len(slow.chats), bool)
    finally:
        gateway.kill()
        client.join(10)
    gateway.start()
    [call] = slow.chats
    row = usage_of(gateway, str(call.header("x-request-id")))
    assert (row["outcome"], row["attempts"]) == ("interrupted", len(broken.chats) + 1)
    *failed, last = row["attempt_details"]
    assert [(attempt["outcome"], attempt["status"]) for attempt in failed] == [("error", 500)] * len(
        broken.chats
    )
    assert (last["provider"], last["outcome"]) == (slow.name, "interrupted")
    assert (last["status"], last["latency_ms"], last["total_tokens"]) == (None, None, None)
    assert all(started(attempt) <= started(last) for attempt in failed)
