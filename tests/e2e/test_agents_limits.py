"""The limits of agents, and the credential that stands for all of them (S2)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.e2e.agents import HEADERS, MODELS, PROXY, SECRET, USAGE, agent, ask, refused, usage
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream

# --- limits ---


def test_s2_6_s2_28_the_eleventh_request_of_an_agent_is_429_and_another_agents_passes(
    agents_desk: Desk,
) -> None:
    lane = agents_desk.provider()
    answers = [ask(agents_desk) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == [
        *map(str, range(9, -1, -1)), "0",
    ]  # fmt: skip
    last = answers[-1]
    detail = refused(last, 429, "rate_limit_exceeded")
    assert detail == "Limit reached: 10 requests per minute for this agent. Try again shortly."
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert ask(agents_desk, "another").status_code == 200
    # S2.28: the limit comes before the model, and a model that nobody serves takes nothing of it.
    refused(ask(agents_desk, model="gpt-unheard-of"), 429, "rate_limit_exceeded")
    refused(ask(agents_desk, "another", model="gpt-unheard-of"), 404, "model_not_found", "model")
    assert len(lane.chats) == 11
    row = agents_desk.gateway.usage_row(last.headers["x-request-id"])
    assert (row["agent"], row["status_code"], row["outcome"]) == (agent(agents_desk), 429, "rejected")
    shown = usage(agents_desk.gateway, agent_id=agent(agents_desk))
    assert (shown["total_requests"], shown["success_rate"]) == (12, round(10 / 12, 4))


def test_s2_6_requests_without_an_agent_share_one_limit(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(LLM_PROXY_SECRET=SECRET, AGENT_RATE_LIMIT=2)
    desk = Desk(gateway, fake)
    desk.provider()
    anonymous: list[dict[str, Any]] = [
        {},
        {"metadata": None},
        {"metadata": {"agent_id": ""}},
        {"metadata": {}},
    ]
    assert [ask(desk, None, **fields).status_code for fields in anonymous] == [200, 200, 429, 429]
    assert [ask(desk).status_code for _ in range(3)] == [200, 200, 429]
    assert usage(gateway)["requests_per_minute"] == 2
    # A large body is checked against nobody's limit before its agent is known.
    large = desk.body(messages=[{"role": "user", "content": "x" * 600_000}])
    assert ask(desk, "third", **large).status_code == 200


def test_a_limit_of_zero_blocks_all_agents_and_waiting_does_not_help(
    launch: Launch, fake: FakeUpstream
) -> None:
    desk = Desk(launch(LLM_PROXY_SECRET=SECRET, AGENT_RATE_LIMIT=0), fake)
    desk.provider()
    response = ask(desk)
    assert "are blocked" in refused(response, 429, "rate_limit_exceeded")
    assert (response.headers["x-should-retry"], response.headers.get("retry-after")) == ("false", None)


async def flood(urls: list[str], body: dict[str, Any]) -> list[int]:
    """Send a request to each of `urls` at once, over connections of their own; return the statuses."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, trust_env=False, verify=False, timeout=20) as client:
        answers = await asyncio.gather(*(client.post(url, headers=HEADERS, json=body) for url in urls))
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize("shared", ["workers", "redis"])
def test_s2_22_workers_and_machines_share_the_limit(
    launch: Launch, fake: FakeUpstream, shared: str, request: pytest.FixtureRequest
) -> None:
    if shared == "workers":
        gateways = [launch("postgresql", LLM_PROXY_SECRET=SECRET, WORKERS=2)]
    else:
        settings = {
            "LLM_PROXY_SECRET": SECRET,
            "REDIS_URL": request.getfixturevalue("redis_url"),
            "DB_URL": request.getfixturevalue("postgres_url"),
        }
        gateways = [launch(**settings) for _ in range(2)]
    desk = Desk(gateways[0], fake)
    lane = desk.provider()

    def serves(gateway: GatewayProcess) -> bool:
        listed = accepted(gateway.http.get(MODELS, headers=HEADERS))["models"]
        return any(model["name"] == desk.model for model in listed)

    eventually(lambda: [serves(gateway) for gateway in gateways], all)
    body = desk.body(metadata={"agent_id": agent(desk)})
    statuses = asyncio.run(flood([f"{gateway.origin}{PROXY}" for gateway in gateways * 15], body))
    assert sorted(statuses) == [200] * 10 + [429] * (len(statuses) - 10)
    assert len(lane.chats) == 10
    # The rows of another machine follow.
    name, count = agent(desk), len(statuses)
    shown = eventually(lambda: usage(gateways[0], agent_id=name), lambda it: it["total_requests"] == count)
    assert (shown["total_tokens"], shown["success_rate"]) == (130, round(10 / count, 4))


# --- the credential that stands for all callers ---


def test_the_credential_surface_agents_sets_limits_and_rights_and_shuts_the_surface(
    launch: Launch, fake: FakeUpstream
) -> None:
    gateway = launch(LLM_PROXY_SECRET=SECRET)
    desk = Desk(gateway, fake)
    desk.provider()
    made = accepted(
        gateway.admin.post(
            "/credentials", json={"name": "surface:agents", "agent_limits": {"requests_per_minute": 3}}
        )
    )

    def change(**fields: Any) -> None:
        accepted(gateway.admin.patch(f"/credentials/{made['id']}", json=fields))

    assert [ask(desk).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [ask(desk, None).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert usage(gateway, agent_id=agent(desk))["requests_per_minute"] == 3
    for limits in ({}, {"tokens_per_day": 1_000_000}):
        change(agent_limits=limits)
        assert usage(gateway)["requests_per_minute"] is None
    assert [ask(desk, "free").status_code for _ in range(12)] == [200] * 12
    change(agent_limits=None)
    assert usage(gateway)["requests_per_minute"] == 10
    change(allowed_models=["other-*"])
    assert "may not use the model" in refused(ask(desk, "rights"), 403, "model_not_allowed", "model")
    assert accepted(gateway.http.get(MODELS, headers=HEADERS))["models"] == []
    change(allowed_models=["*"], is_enabled=False)
    for response in (
        ask(desk),
        gateway.http.get(MODELS, headers=HEADERS),
        gateway.http.get(USAGE, headers=HEADERS),
    ):
        assert "surface:agents" in refused(response, 403, "surface_disabled")
    # Who does not know the secret learns nothing of it.
    refused(ask(desk, headers={}), 401, "invalid_internal_secret")
    change(is_enabled=True)
    assert ask(desk, "back").status_code == 200


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 503),
        ({"LLM_PROXY_SECRET": "dev-secret-token"}, 503),
        ({"LLM_PROXY_SECRET": "dev-secret-token", "DEBUG": "true"}, 200),
    ],
)
def test_s2_7_without_a_secret_of_its_own_the_surface_is_closed(
    launch: Launch, fake: FakeUpstream, settings: dict[str, str], status: int
) -> None:
    desk = Desk(launch(ALLOW_ANONYMOUS="true", **settings), fake)
    desk.provider()
    headers = {"X-Internal-Secret": "dev-secret-token"}
    answers = [
        ask(desk, headers=headers),
        desk.gateway.http.get(MODELS, headers=headers),
        desk.gateway.http.get(USAGE, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [status] * 3
    assert desk.gateway.log().count("LLM_PROXY_SECRET is a value that everybody knows") == len(
        settings.keys() & {"LLM_PROXY_SECRET"}
    )
    if status == 503:
        for answer in answers:
            assert "LLM_PROXY_SECRET" in refused(answer, 503, "not_configured")
            assert answer.headers["x-should-retry"] == "false"


def test_a_surface_that_is_not_served_is_not_there(launch: Launch, fake: FakeUpstream) -> None:
    desk = Desk(launch(SURFACES="openai", LLM_PROXY_SECRET=SECRET), fake)
    desk.provider()
    assert ask(desk).status_code == 404
    assert desk.chat().status_code == 200
