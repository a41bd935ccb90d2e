"""The overview of a running gateway: exact, live, bounded, and gone with its session or its process."""

from __future__ import annotations

import html
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import PLACES, Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, eventually
from tests.fakes.console_visitor import ConsoleVisitor, live_path, tile
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture
def visitors() -> Iterator[list[ConsoleVisitor]]:
    made: list[ConsoleVisitor] = []
    yield made
    for visitor in made:
        visitor.close()


def chat(gateway: GatewayProcess, key: str, model: str, **fields: Any) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return gateway.post("/v1/chat/completions", key, json=body).status_code


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_tiles_and_tables_are_what_the_admin_api_says(
    launch: Launch, fake: FakeUpstream, visitors: list[ConsoleVisitor], store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers, TIME_ZONE="Asia/Kolkata")
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY))
    empty = visitor.get("/console/overview")
    assert "No request has arrived yet" in empty
    assert 'href="/console/first-run"' in empty

    good, bad = fake.lane("overview-good"), fake.lane("overview-bad")
    bad.default = Script(status=500, body=b"{}")
    gateway.create_provider(
        "good", good.base_url, model_mapping={"gpt-4o": "gpt-4o", HOSTILE: "odd"}, price_provider="openai"
    )
    gateway.create_provider("bad", bad.base_url, model_mapping={"broken": "gpt-4o"})
    key = gateway.create_credential(HOSTILE)
    blocked = gateway.create_credential("blocked", rate_limit=0)
    assert [chat(gateway, key, "gpt-4o") for _ in range(5)] == [200] * 5
    assert [chat(gateway, key, HOSTILE) for _ in range(2)] == [200] * 2
    assert chat(gateway, key, "broken") >= 500
    assert chat(gateway, blocked, "gpt-4o") == 429
    rows = eventually(gateway.usage_rows, lambda found: len(found) == 9)
    for name in ("1h", "24h", "7d", "30d"):
        page = visitor.get(f"/console/overview?range={name}")
        summary = gateway.admin.get("/usage/summary").json()["total"]
        assert tile(page, "Requests") == (str(summary["requests"]), "7 succeeded, 0 from the cache")
        assert tile(page, "Errors") == ("1", "11.1 % of requests")
        assert (tile(page, "Refused")[0], tile(page, "Aborted")[0]) == ("1", "0")
        tokens = summary["prompt_tokens"] + summary["completion_tokens"]
        assert tile(page, "Tokens")[0] == f"{tokens:,}"
        assert tokens == sum(row["total_tokens"] or 0 for row in rows)
        assert f"${summary['cost_usd']}" in tile(page, "Cost")[1]
        assert tile(page, "Cost")[1].endswith("2 requests unpriced")
        assert tile(page, "Requests a minute") == ("1.8", "in the last 5 minutes")
        assert "Requests, " in page
        assert "9 in all, 7 succeeded, 1 refused, 0 aborted by clients, 1 failed" in page
        # Names are escaped, in texts and in links.
        assert "<script>alert" not in page
        links = [html.unescape(link) for link in re.findall(r'href="(/console/requests\?[^"]+)"', page)]
        assert any(link.endswith("&model=%3Cscript%3Ealert%281%29%3C%2Fscript%3E%22%27%26") for link in links)
        assert {part.split("=")[0] for link in links for part in link.split("?")[1].split("&")} == {
            "since", "model", "credential", "provider",
        }  # fmt: skip
        assert " style=" not in page
    assert "There is no range" in visitor.get("/console/overview?range=1y", 404)


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_a_page_follows_what_happens(
    launch: Launch, fake: FakeUpstream, visitors: list[ConsoleVisitor], store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers)
    gateway.create_provider("live", fake.lane("overview-live").base_url)
    key = gateway.create_credential("live")
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY))
    path = live_path(visitor.get("/console/overview?range=1h"))
    with visitor.follow(path) as events:
        assert chat(gateway, key, "gpt-4o") == 200
        event = next(events)
        assert event.name == "message"
        assert tile(event.data, "Requests")[0] == "1"
        # Signing out elsewhere ends the stream, and the browser does not come back.
        visitor.post("/console/sign-out")
        begun = time.monotonic()
        assert list(events)[-1].name == "done"
        assert time.monotonic() - begun < 12
    answer = visitor.client.get(path, headers={"sec-fetch-dest": "empty"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signed_out")


def test_open_streams_do_not_delay_the_end_of_the_process(
    launch: Launch, visitors: list[ConsoleVisitor]
) -> None:
    gateway = launch(DRAIN_TIMEOUT=10)
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY))
    path = live_path(visitor.get("/console/overview"))
    with visitor.follow(path.partition("&seen")[0]) as events:
        next(events)
        begun = time.monotonic()
        gateway.terminate()
        assert list(events) == []
        assert gateway.wait() == 0
        assert time.monotonic() - begun < 8
    assert gateway.distress() == [], gateway.log()


def test_more_streams_than_a_process_serves_are_refused(
    launch: Launch, visitors: list[ConsoleVisitor]
) -> None:
    gateway = launch()
    visitors.append(visitor := ConsoleVisitor(gateway.origin, ADMIN_KEY))
    path = live_path(visitor.get("/console/overview?range=30d"))
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nCookie: {cookie}\r\n\r\n".encode()
    open_ones = []
    try:
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=15)
            open_ones.append(connection)
            connection.sendall(head)
            assert connection.recv(12) == b"HTTP/1.1 200"
        answer = visitor.client.get(path, headers={"sec-fetch-dest": "empty"})
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "too_many_streams"
        assert answer.headers["retry-after"] == "30"
        # Pages are still served.
        visitor.get("/console/overview?range=30d")
    finally:
        for connection in open_ones:
            connection.close()

    def status() -> int:
        with visitor.client.stream("GET", path) as answer:
            return answer.status_code

    assert eventually(status, lambda found: found == 200) == 200
