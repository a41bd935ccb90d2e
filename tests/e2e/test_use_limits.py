"""Limits of use as clients meet them: exact over workers, given back when workers die, and told in OpenAI's words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import eventually
from tests.e2e.test_rate_limits import counted, flood
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream


def limited(desk: Desk, suffix: str, **limits: int) -> str:
    return desk.credential(suffix, limits=limits)


def test_a_quota_of_a_day_is_final_and_says_what_was_used(desk: Desk) -> None:
    lane = desk.provider()
    key = limited(desk, "-day", requests_per_day=1)
    assert desk.gateway.post("/v1/chat/completions", key, json=desk.body()).status_code == 200
    with (
        openai.OpenAI(base_url=f"{desk.gateway.origin}/v1", api_key=key, max_retries=3) as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        sdk.chat.completions.create(model=desk.model, messages=[{"role": "user", "content": "hi"}])
    error: Any = caught.value.body
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert (error["scope"], error["limit"], error["used"], error["held"]) == ("credential", 1, 1, 0)
    assert error["reset_at"].endswith("T00:00:00Z")
    assert "retry-after" not in caught.value.response.headers
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(lane.chats) == 1
    counted_refusals = desk.gateway.metrics(
        "llm_gateway_limit_refusals_total", scope="credential", limit="requests_per_day"
    )
    assert counted_refusals >= 1


async def test_a_minute_admits_its_limit_and_says_when_to_come_back(desk: Desk) -> None:
    lane = desk.provider()
    answers = await flood(desk, limited(desk, "-minute", requests_per_minute=20), 60)
    assert counted(answers) == (20, 40)
    assert len(lane.chats) == 20
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "20"
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_tokens_count_as_the_provider_states_them(desk: Desk) -> None:
    desk.provider()
    key = limited(desk, "-tokens", tokens_per_minute=10_000, tokens_per_day=100_000)
    left, used = [], 0
    for _ in range(2):
        answer = desk.gateway.post("/v1/chat/completions", key, json=desk.body(max_tokens=500))
        assert answer.headers["x-ratelimit-limit-tokens"] == "10000"
        left.append(int(answer.headers["x-ratelimit-remaining-tokens"]))
        used = answer.json()["usage"]["total_tokens"]
    assert left[0] - left[1] == used, "what was held and not used is given back"
    refused = desk.gateway.post("/v1/chat/completions", key, json=desk.body(max_tokens=20_000))
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert "Shorten the prompt" in refused.json()["error"]["message"]


def test_a_changed_limit_is_in_force_at_the_next_request(desk: Desk) -> None:
    desk.provider()
    made = desk.gateway.admin.post("/credentials", json={"name": f"changing-{desk.number}"}).json()
    statuses = []
    for limit in (0, 1, 1, 2, None):
        limits = {"requests_per_day": limit}
        desk.gateway.admin.patch(f"/credentials/{made['id']}", json={"limits": limits}).raise_for_status()
        answer = desk.gateway.post("/v1/chat/completions", made["key"], json=desk.body())
        statuses.append(answer.status_code)
    assert statuses == [429, 200, 429, 200, 200]


def test_a_new_credential_of_the_same_name_has_used_nothing(desk: Desk) -> None:
    desk.provider()
    for _ in range(2):
        row = {"name": f"again-{desk.number}", "limits": {"requests_per_day": 1}}
        made = desk.gateway.admin.post("/credentials", json=row).json()
        statuses = [
            desk.gateway.post("/v1/chat/completions", made["key"], json=desk.body()).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 429]
        desk.gateway.admin.delete(f"/credentials/{made['id']}").raise_for_status()


def test_a_tenants_credentials_share_its_limit(desk: Desk) -> None:
    desk.provider()
    name = f"tenant-{desk.number}"
    desk.gateway.admin.post(
        "/tenants", json={"name": name, "limits": {"requests_per_day": 3}}
    ).raise_for_status()
    keys = [desk.credential(f"-of-tenant-{number}", tenant=name) for number in range(2)]
    statuses = [
        desk.gateway.post("/v1/chat/completions", keys[number % 2], json=desk.body()).status_code
        for number in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]
    refused = desk.gateway.post("/v1/chat/completions", keys[0], json=desk.body()).json()["error"]
    assert (refused["scope"], refused["used"]) == ("tenant", 3)


async def test_concurrent_requests_are_bounded_and_come_back_with_their_clients(pair_desk: Desk) -> None:
    desk = pair_desk
    lane = desk.provider()
    key = limited(desk, "-concurrent", concurrent_requests=5, tokens_per_minute=1_000_000)
    before = desk.gateway.metrics("llm_gateway_limit_holds")
    lane.next += [Script(fault="stall") for _ in range(5)]
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=desk.gateway.origin, limits=limits, trust_env=False, verify=False, timeout=20
    ) as client:
        headers = {"authorization": f"Bearer {key}"}

        async def ask() -> httpx.Response:
            return await client.post("/v1/chat/completions", headers=headers, json=desk.body())

        stalled = [asyncio.create_task(ask()) for _ in range(5)]
        await asyncio.to_thread(eventually, lambda: len(lane.chats), lambda count: count == 5)
        assert desk.gateway.metrics("llm_gateway_limit_holds") == before + 5
        refused = await ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "5 concurrent requests" in refused.json()["error"]["message"]
        stalled.pop().cancel()
        for _ in range(200):
            if (await ask()).status_code == 200:
                break
            await asyncio.sleep(0.02)
        assert (await ask()).status_code == 200
        for task in stalled:
            task.cancel()
    await asyncio.to_thread(
        eventually, lambda: desk.gateway.metrics("llm_gateway_limit_holds"), lambda count: count == before
    )


async def test_two_workers_admit_what_one_does(pair_desk: Desk) -> None:
    lane = pair_desk.provider()
    answers = await flood(pair_desk, limited(pair_desk, "-two", requests_per_day=25), 100)
    assert counted(answers) == (25, 75)
    assert len(lane.chats) == 25


async def test_s2_22_two_machines_share_a_quota_through_redis(
    launch: Launch, fake: FakeUpstream, postgres_url: str, redis_url: str
) -> None:
    desks = [Desk(launch(DB_URL=postgres_url, REDIS_URL=redis_url), fake) for _ in range(2)]
    lane = desks[0].provider()
    key = limited(desks[0], "-shared-quota", requests_per_day=30, concurrent_requests=1000)
    desks[1].model = desks[0].model
    headers = {"authorization": f"Bearer {key}"}
    eventually(
        lambda: desks[1].gateway.http.get("/v1/models", headers=headers).status_code,
        lambda status: status == 200,
    )
    answers = await asyncio.gather(*(flood(desk, key, 40) for desk in desks))
    assert counted([*answers[0], *answers[1]]) == (30, 50)
    assert len(lane.chats) == 30


def test_days_survive_a_restart(launch: Launch, fake: FakeUpstream) -> None:
    desk = Desk(launch(), fake)
    desk.provider()
    key = limited(desk, "-restart", requests_per_day=1)
    assert desk.gateway.post("/v1/chat/completions", key, json=desk.body()).status_code == 200
    assert desk.gateway.stop() == 0
    desk.gateway.start()
    answer: httpx.Response = desk.gateway.post("/v1/chat/completions", key, json=desk.body())
    assert answer.status_code == 429
    assert answer.json()["error"]["used"] == 1
