"""While the database is down or frozen the gateway serves what it knows, and no usage row is lost (4.2, 4.7)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import accepted, eventually
from tests.fakes.script import Script
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream


@pytest.mark.parametrize("fault", ["cut", "freeze"])
def test_requests_go_on_and_their_rows_come_later(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str, fault: str
) -> None:
    desk = Desk(launch(DB_URL=proxied_url), fake)
    lane = desk.provider()
    ids = [desk.chat().headers["x-request-id"]]
    getattr(proxy, fault)()
    for number in range(10):
        answer = desk.chat(stream=number % 2 == 0)
        assert answer.status_code == 200
        ids.append(answer.headers["x-request-id"])
    assert desk.gateway.http.get("/health").status_code == 200
    assert desk.gateway.http.get("/health/ready").status_code == 200
    if fault == "cut":
        refused = desk.gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 5})
        assert refused.status_code == 503
        assert refused.json()["error"]["message"]
        assert "postgres" not in refused.text.lower() or "password" not in refused.text.lower()
    proxy.restore()

    def rows() -> Any:
        answer = desk.gateway.admin.get("/usage", params={"model": desk.model})
        return answer.json()["data"] if answer.status_code == 200 else []

    found = eventually(rows, lambda found: len(found) >= len(ids), 20)
    assert sorted(row["request_id"] for row in found) == sorted(ids)
    eventually(
        lambda: desk.gateway.admin.patch(f"/providers/{lane.name}", json={"weight": 5}).status_code,
        lambda status: status == 200,
        15,
    )
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []


def test_a_start_while_the_database_is_down_serves_the_last_good(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str
) -> None:
    desk = Desk(launch(DB_URL=proxied_url), fake)
    lane = desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    version = gateway.config_version()
    assert gateway.stop() == 0
    proxy.cut()
    gateway.start()
    answer = desk.chat()
    assert answer.status_code == 200
    assert lane.last.header("authorization") == "Bearer sk-upstream-secret"
    told = accepted(gateway.admin.get("/config/version"))
    assert (told["version"], told["source"]) == (version, "last_good_file")
    proxy.restore()
    eventually(
        lambda: accepted(gateway.admin.get("/config/version"))["source"],
        lambda source: source == "database",
        15,
    )
    assert gateway.usage_row(answer.headers["x-request-id"])["outcome"] == "ok"
    assert gateway.stop() == 0


def test_a_kill_while_the_database_is_down_loses_no_row(
    launch: Launch, fake: FakeUpstream, proxy: TcpProxy, proxied_url: str
) -> None:
    desk = Desk(launch(DB_URL=proxied_url), fake)
    lane = desk.provider()
    gateway = desk.gateway
    assert desk.chat().status_code == 200
    proxy.cut()
    answers = [desk.chat() for _ in range(5)]
    lane.next.append(Script(fault="stall", fault_at=2))
    body = desk.body(stream=True)
    headers = {"authorization": f"Bearer {desk.key}"}
    request = gateway.http.build_request("POST", "/v1/chat/completions", headers=headers, json=body)
    open_stream = gateway.http.send(request, stream=True)
    gateway.kill()
    open_stream.close()
    proxy.restore()
    gateway.start()
    for answer in answers:
        assert gateway.usage_row(answer.headers["x-request-id"])["outcome"] == "ok"
    assert gateway.usage_row(open_stream.headers["x-request-id"])["outcome"] == "interrupted"
    assert {row["request_id"] for row in gateway.usage_rows(model=desk.model)} == {
        call.header("x-request-id") for call in lane.chats
    }
