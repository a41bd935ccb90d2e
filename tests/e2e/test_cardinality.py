"""Whatever clients send, and whichever worker dies, the number of series stays what the catalog makes it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, accepted_text, eventually
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream

REQUESTS = 4000
_GAUGES = ("llm_gateway_workers", "llm_proxy_active_requests", "llm_gateway_limit_holds")


def series(gateway: GatewayProcess) -> set[str]:
    text = accepted_text(gateway.http.get("/metrics"))
    return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}


def workers(gateway: GatewayProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()]


async def _strange_requests(gateway: GatewayProcess, desk: Desk, number: int) -> None:
    """Send requests with random models, paths and keys, each over one of 8 connections."""

    async def one_client(client: httpx.AsyncClient, share: int) -> None:
        for index in range(share):
            name = secrets.token_hex(6)
            key = {"authorization": f"Bearer {desk.key}"}
            match index % 4:
                case 0:
                    await client.post("/v1/chat/completions", headers=key, json=desk.body(model=name))
                case 1:
                    wrong = {"authorization": f"Bearer sk-{name}"}
                    await client.post("/v1/chat/completions", headers=wrong, json=desk.body())
                case 2:
                    await client.request(("GET", "POST", "PUT")[index % 3], f"/v1/{name}", headers=key)
                case _:
                    await client.get(f"/{name}/{name}?{name}", headers={"x-api-key": name})

    async with httpx.AsyncClient(base_url=gateway.origin, trust_env=False, timeout=30) as client:
        await asyncio.gather(*(one_client(client, number // 8) for _ in range(8)))


def test_requests_with_random_names_add_no_series(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(WORKERS=2)
    desk = Desk(gateway, fake)
    desk.provider()
    assert desk.chat().status_code == 200
    asyncio.run(_strange_requests(gateway, desk, 64))
    before = series(gateway)
    asyncio.run(_strange_requests(gateway, desk, REQUESTS))
    assert series(gateway) == before
    assert gateway.metrics("llm_proxy_requests_total", model="other") >= REQUESTS / 4


def test_no_series_has_a_key_and_what_is_deleted_leaves_none(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(WORKERS=2)
    desk = Desk(gateway, fake)
    desk.failing(error_script(500), "bad", weight=10_000)
    desk.provider("good")
    made = accepted(gateway.admin.post("/credentials", json={"name": "passing-by"}))
    for number in range(10):
        body = desk.body(messages=[{"role": "user", "content": str(number)}])
        assert gateway.post("/v1/chat/completions", made["key"], json=body).status_code == 200
    found = series(gateway)
    assert not any(made["key"] in one for one in found)
    assert any('"passing-by"' in one for one in found)
    accepted_text(gateway.admin.delete(f"/credentials/{made['id']}"))
    # Either worker may answer.
    for _ in range(6):
        assert not any('"passing-by"' in one for one in series(gateway))

    assert any('"bad-' in one for one in found)
    accepted_text(gateway.admin.delete(f"/providers/bad-{desk.number}"))
    for _ in range(6):
        assert not any('"bad-' in one for one in series(gateway))
    # The model goes with the last provider that has it in its mapping.
    renamed = {"model_mapping": {"another": "up"}}
    accepted(gateway.admin.patch(f"/providers/good-{desk.number}", json=renamed))
    for _ in range(6):
        assert not any(f'"{desk.model}"' in one for one in series(gateway))


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_dead_worker_leaves_no_ghost_gauges(launch: Launch, fake: FakeUpstream, all_of_them: bool) -> None:
    gateway = launch(WORKERS=2)
    desk = Desk(gateway, fake)
    desk.failing(error_script(500), "bad", weight=10_000)
    good = desk.provider("good", model_mapping={desk.model: "up", "endless": "up"})
    for number in range(40):
        body = desk.body(messages=[{"role": "user", "content": str(number)}])
        assert gateway.post("/v1/chat/completions", desk.key, json=body).status_code == 200
    good.default = Script(pieces=("w ",) * 400, gap=0.05)

    def gauges() -> tuple[float, ...]:
        page = gateway.metrics_page()
        return (*(page(name) for name in _GAUGES), page("llm_gateway_open_breakers") > 0)

    eventually(gauges, lambda seen: seen == (2, 0, 0, True))
    headers = {"authorization": f"Bearer {desk.key}"}
    body = desk.body(model="endless", stream=True)
    with gateway.http.stream("POST", "/v1/chat/completions", headers=headers, json=body):
        assert gateway.metrics("llm_proxy_active_requests") == 1
        counted = gateway.metrics("llm_proxy_requests_total")
        victims = workers(gateway) if all_of_them else workers(gateway)[:1]
        assert len(victims) == (2 if all_of_them else 1)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: _new_workers(gateway, victims), lambda number: number == 2, 30)
    # Those that took their places count as two workers, nothing of the dead is in flight, and no count is lost.
    expected = (2, 0, 0, False) if all_of_them else (2, 0, 0)
    seconds = 20.0
    eventually(lambda: gauges()[: len(expected)], lambda seen: seen == expected, seconds)
    assert gateway.metrics("llm_proxy_requests_total") >= counted
    assert gateway.metrics("llm_gateway_event_loop_lag_seconds") < 15


def _new_workers(gateway: GatewayProcess, dead: list[int]) -> int:
    try:
        return len(set(workers(gateway)) - set(dead)) if gateway.is_ready() else 0
    except httpx.HTTPError:
        return 0
