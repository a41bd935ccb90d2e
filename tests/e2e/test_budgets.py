"""Budgets as clients meet them: they are served until the money is spent, and not a request longer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.sql import run_sql
from tests.fakes.calls import Lane
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.services import run_alone

PLACES = [("sqlite", 1), ("postgresql", 1), ("postgresql", 4)]
# A model of the price book.
PRICED = "gpt-4o-mini"
USD = 1_000_000_000


def priced_provider(desk: Desk) -> Lane:
    """Add a provider whose prices are known."""
    lane = desk.provider(model_mapping={desk.model: PRICED})
    run_sql(desk.gateway, "UPDATE providers SET price_provider = 'openai'")
    accepted(desk.gateway.admin.post("/config/reload"))
    return lane


def add_budget(gateway: GatewayProcess, amount: int, **fields: Any) -> None:
    """Store a budget that counts from now on, and wait until all workers know it."""
    values = {
        "name": "'all'",
        "scope": "'all'",
        "subject": "NULL",
        "period": "'total'",
        "models": "NULL",
        **fields,
    }
    counts_from = time.time_ns() // 1000
    is_sqlite = "DB_URL" not in gateway.settings
    moment = (
        str(counts_from) if is_sqlite else f"'epoch'::timestamptz + {counts_from} * interval '1 microsecond'"
    )
    columns = ", ".join(values)
    run_sql(
        gateway,
        f"INSERT INTO budgets ({columns}, amount_nano_usd, counts_from) "
        f"VALUES ({', '.join(values.values())}, {amount}, {moment})",
    )
    accepted(gateway.admin.post("/config/reload"))


def balance(gateway: GatewayProcess) -> tuple[int, int]:
    """Return what is stored as spent and held over all budgets; holds whose lease has ended hold nothing."""
    spent = run_sql(gateway, "SELECT coalesce(sum(spent_nano_usd), 0) FROM budget_balances")[0][0]
    now = str(time.time_ns() // 1000) if "DB_URL" not in gateway.settings else "now()"
    held = run_sql(
        gateway,
        f"SELECT coalesce(sum(borrowed_nano_usd - shipped_nano_usd), 0) FROM budget_holds WHERE expires_at > {now}",
    )[0][0]
    return int(spent), int(held)


def row_costs(gateway: GatewayProcess) -> int:
    return int(run_sql(gateway, "SELECT coalesce(sum(cost_nano_usd), 0) FROM usage")[0][0])


async def flood(gateway: GatewayProcess, key: str, body: dict[str, Any], count: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_keepalive_connections=0, max_connections=200)
    async with httpx.AsyncClient(
        base_url=gateway.origin, limits=limits, trust_env=False, verify=False, timeout=60
    ) as client:
        headers = {"authorization": f"Bearer {key}"}
        asked = [client.post("/v1/chat/completions", headers=headers, json=body) for _ in range(count)]
        return await asyncio.gather(*asked)


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_parallel_requests_do_not_run_through_a_budget(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    gateway = launch(store, WORKERS=workers, BUDGET_LEASE=2)
    desk = Desk(gateway, fake)
    priced_provider(desk)
    assert desk.chat(max_tokens=4).status_code == 200
    cost = row_costs_after(gateway, 1)
    assert cost > 0
    amount = 100 * cost
    add_budget(gateway, amount)
    answers = run_alone(flood(gateway, desk.key, desk.body(max_tokens=4), 400))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}, {
        answer.text for answer in answers if answer.status_code not in {200, 429}
    }
    error = next(answer for answer in answers if answer.status_code == 429).json()["error"]
    assert error["code"] == "insufficient_quota"
    assert (error["scope"], error["reset_at"]) == ("all", None)
    assert Decimal(error["limit"]) == Decimal(amount) / USD
    assert Decimal(error["used"]) + Decimal(error["held"]) <= Decimal(error["limit"])
    served = statuses.count(200)
    eventually(lambda: balance(gateway), lambda found: found == (served * cost, 0), 10)
    assert row_costs(gateway) == (served + 1) * cost
    assert served * cost <= amount


def row_costs_after(gateway: GatewayProcess, rows: int) -> int:
    eventually(lambda: run_sql(gateway, "SELECT count(*) FROM usage")[0][0], lambda count: count == rows)
    return row_costs(gateway)


@pytest.mark.parametrize(("store", "workers"), PLACES[:2])
def test_a_webhook_hears_of_each_threshold_once(
    launch: Launch, fake: FakeUpstream, store: str, workers: int
) -> None:
    with webhook() as (url, calls):
        gateway = launch(
            store,
            WORKERS=workers,
            BUDGET_LEASE=2,
            BUDGET_WEBHOOK_URL=url,
            BUDGET_WEBHOOK_SECRET="signing-key",
        )
        desk = Desk(gateway, fake)
        priced_provider(desk)
        assert desk.chat(max_tokens=4).status_code == 200
        cost = row_costs_after(gateway, 1)
        add_budget(gateway, 10 * cost)
        for _ in range(8):
            assert desk.chat(max_tokens=4).status_code == 200
        eventually(lambda: percents(calls), lambda found: found == [80], 20)
        while desk.chat(max_tokens=4).status_code == 200:
            pass
        eventually(lambda: percents(calls), lambda found: found == [80, 100], 20)
    headers, call = calls[0]
    assert call["budget"]["name"] == "all"
    assert Decimal(call["spent_usd"]) == Decimal(8 * cost) / USD
    assert headers["idempotency-key"] == call["id"]
    assert headers["x-llm-gateway-signature"].startswith("sha256=")
    assert "signing-key" not in gateway.log()


def percents(calls: list[tuple[dict[str, str], Any]]) -> list[int]:
    return [call["threshold_percent"] for _, call in calls]


@contextmanager
def webhook() -> Iterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """Serve a webhook whose first call fails; yield its URL and the calls that it accepted."""
    accepted_calls: list[tuple[dict[str, str], Any]] = []
    failures = [503]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = failures.pop() if failures else 204
            if status == 204:
                headers = {name.lower(): value for name, value in self.headers.items()}
                accepted_calls.append((headers, json.loads(body)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", accepted_calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_while_the_database_is_away_the_share_is_spent_and_then_the_setting_decides(
    launch: Launch, fake: FakeUpstream, postgres_url: str, fail: str
) -> None:
    with ExitStack() as stack:
        url, proxy = proxied(stack, postgres_url)
        gateway = launch(DB_URL=url, BUDGET_LEASE=2, BUDGETS_FAIL=fail)
        desk = Desk(gateway, fake)
        priced_provider(desk)
        add_budget(gateway, USD)
        assert desk.chat(max_tokens=4).status_code == 200
        proxy.cut()
        answers = [desk.chat(max_tokens=4).status_code]
        time.sleep(3)
        last = desk.chat(max_tokens=4)
        proxy.restore()
    assert answers == [200]
    if fail == "open":
        assert last.status_code == 200
    else:
        assert (last.status_code, last.json()["error"]["code"]) == (503, "budget_unavailable")


def test_the_admin_api_shows_what_is_enforced(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch("sqlite", BUDGET_LEASE=2, TIME_ZONE="Asia/Kathmandu")
    desk = Desk(gateway, fake)
    priced_provider(desk)
    key = desk.credential("-spender")
    body = {"name": "mine", "scope": "credential", "subject": f"desk-{desk.number}-spender", "period": "day"}
    accepted(gateway.admin.post("/budgets", json=body | {"amount_usd": "0.00005"}))
    answers = [gateway.post("/v1/chat/completions", key, json=desk.body(max_tokens=4))]
    while answers[-1].status_code != 429:
        answers.append(gateway.post("/v1/chat/completions", key, json=desk.body(max_tokens=4)))
    # Others are not held to it.
    assert desk.chat(max_tokens=4).status_code == 200
    error = answers[-1].json()["error"]
    assert (error["scope"], error["limit"]) == ("credential", "0.00005")
    assert error["reset_at"].endswith("T18:15:00Z")
    shown = eventually(
        lambda: accepted(gateway.admin.get("/budgets/mine")), lambda found: found["held_usd"] == "0", 15
    )
    spent = Decimal(shown["spent_usd"])
    assert spent == Decimal(row_costs(gateway)) * (len(answers) - 1) / len(answers) / USD
    assert Decimal(shown["remaining_usd"]) == Decimal("0.00005") - spent
    assert shown["reset_at"].replace(".000000Z", "Z") == error["reset_at"]
    # A larger amount applies at once.
    accepted(gateway.admin.patch("/budgets/mine", json={"amount_usd": "1"}))
    eventually(
        lambda: gateway.post("/v1/chat/completions", key, json=desk.body(max_tokens=4)).status_code,
        lambda status: status == 200,
        5,
    )
    metrics = gateway.http.get("/metrics").text
    assert 'llm_gateway_limit_refusals_total{limit="budget",scope="credential"}' in metrics
    assert 'llm_gateway_budget_used_ratio{budget="mine"}' in metrics


def proxied(stack: ExitStack, url: str) -> tuple[str, TcpProxy]:
    """Return a URL that leads to a server by way of a proxy, and the proxy."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = TcpProxy((parts.hostname, parts.port)).start()
    stack.callback(proxy.stop)
    user = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{proxy.port}")), proxy
