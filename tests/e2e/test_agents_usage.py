"""The models that agents may use, and what their requests used and cost (S2)."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.agents import HEADERS, MODELS, USAGE, agent, ask, refused, usage
from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted, eventually
from tests.fakes.script import error_script


def test_s2_11_s2_3_models_are_listed_with_their_provider_and_physical_name(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    answer = accepted(agents_desk.gateway.http.get(MODELS, headers=HEADERS))
    assert answer.keys() == {"models"}
    assert [model for model in answer["models"] if model["name"] == agents_desk.model] == [
        {
            "name": agents_desk.model,
            "provider": lane.name,
            "physical_name": agents_desk.upstream_model,
            "max_tokens": None,
        }
    ]


def test_s2_11_the_provider_with_the_most_requests_is_named_and_drained_models_are_not(
    agents_desk: Desk,
) -> None:
    agents_desk.provider("light", weight=1)
    heavy = agents_desk.provider("heavy", weight=5)
    drained = f"drained-{agents_desk.number}"
    agents_desk.provider("drained", weight=0, model_mapping={drained: "x"})
    listed = {
        one["name"]: one for one in accepted(agents_desk.gateway.http.get(MODELS, headers=HEADERS))["models"]
    }
    assert listed[agents_desk.model]["provider"] == heavy.name
    assert drained not in listed


def test_s2_12_s2_23_usage_adds_up_what_an_agent_used(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    name, dao, channel = agent(agents_desk), f"microdao:{agents_desk.number}", f"channel-{agents_desk.number}"
    metadata = {"agent_id": name, "microdao_id": dao, "channel_id": channel}
    assert usage(agents_desk.gateway, agent_id=name) == {
        "total_requests": 0,
        "total_tokens": 0,
        "avg_latency_ms": 0.0,
        "success_rate": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost_usd": "0",
        "unpriced_requests": 0,
        "requests_per_minute": 10,
        "is_complete": True,
    }
    latencies = [accepted(ask(agents_desk, metadata=metadata))["latency_ms"] for _ in range(3)]
    lane.default = error_script(500)
    assert ask(agents_desk, metadata=metadata).status_code == 502
    # No waiting: what has ended counts.
    shown = usage(agents_desk.gateway, agent_id=name)
    assert shown.pop("avg_latency_ms") >= min(latencies) * 0.5
    assert shown == {
        "total_requests": 4,
        "total_tokens": 39,
        "success_rate": 0.75,
        "prompt_tokens": 27,
        "completion_tokens": 12,
        "cost_usd": "0",
        "unpriced_requests": 3,
        "requests_per_minute": 10,
        "is_complete": True,
    }


@pytest.mark.parametrize("name", ["agent_id", "microdao_id", "channel_id"])
def test_s2_12_usage_is_filtered_by_agent_microdao_channel_and_time(agents_desk: Desk, name: str) -> None:
    agents_desk.provider()
    mine, others = f"mine-{agents_desk.number}", f"others-{agents_desk.number}"
    for value in (mine, mine, others):
        accepted(ask(agents_desk, metadata={name: value}))
    assert usage(agents_desk.gateway, **{name: mine})["total_requests"] == 2
    assert usage(agents_desk.gateway, **{name: others})["total_requests"] == 1
    assert usage(agents_desk.gateway, **{name: f"nobody-{agents_desk.number}"})["total_requests"] == 0
    assert (
        usage(agents_desk.gateway, **{name: mine}, since="2020-01-01", until="2100-01-01")["total_requests"]
        == 2
    )
    assert usage(agents_desk.gateway, **{name: mine}, until="2020-01-01")["total_requests"] == 0
    assert usage(agents_desk.gateway)["total_requests"] >= 3


def test_usage_of_other_surfaces_is_not_shown(agents_desk: Desk) -> None:
    agents_desk.provider()
    name = agent(agents_desk)
    key = agents_desk.credential(trusts_attribution=True)
    headers = {"x-llm-gateway-agent": name}
    accepted(agents_desk.gateway.post("/v1/chat/completions", key, json=agents_desk.body(), headers=headers))
    assert usage(agents_desk.gateway, agent_id=name)["total_requests"] == 0


@pytest.mark.parametrize(
    ("query", "param"), [("agent=x", "agent"), ("since=soon", "since"), ("agent_id=%00", "agent_id")]
)
def test_a_wrong_query_is_422_and_names_the_parameter(agents_desk: Desk, query: str, param: str) -> None:
    response = agents_desk.gateway.http.get(f"{USAGE}?{query}", headers=HEADERS)
    refused(response, 422, "invalid_value", param, "value_error")
    assert response.json()["detail"][0]["loc"] == ["query", param]


def test_s2_24_costs_are_added_up_with_the_usage(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    prices = {"input_tokens": "10", "output_tokens": "30"}
    accepted(
        agents_desk.gateway.admin.post(
            "/prices",
            json={"provider": lane.name, "upstream_model": agents_desk.upstream_model, "prices": prices},
        )
    )
    response = ask(agents_desk)
    accepted(response)
    shown = usage(agents_desk.gateway, agent_id=agent(agents_desk))
    assert (shown["cost_usd"], shown["unpriced_requests"]) == (response.headers["x-llm-gateway-cost-usd"], 0)
    # 9 tokens at 10 USD per million, 4 at 30 USD.
    assert shown["cost_usd"] == "0.00021"


def test_s2_25_the_export_has_the_agents_rows(agents_desk: Desk) -> None:
    agents_desk.provider()
    response = ask(agents_desk)
    accepted(response)
    asked = {"format": "jsonl", "agent": agent(agents_desk)}
    exported = agents_desk.gateway.admin.get("/usage/export", params=asked)
    (row,) = map(json.loads, exported.text.splitlines())
    assert (row["request_id"], row["agent"]) == (response.headers["x-request-id"], agent(agents_desk))


@pytest.mark.parametrize("scope", ["agent", "tenant"])
def test_s2_24_budgets_of_agents_and_microdaos_hold(agents_desk: Desk, scope: str) -> None:
    lane = agents_desk.provider()
    prices = {"input_tokens": "10", "output_tokens": "30"}
    accepted(
        agents_desk.gateway.admin.post(
            "/prices",
            json={"provider": lane.name, "upstream_model": agents_desk.upstream_model, "prices": prices},
        )
    )
    name = f"spender-{agents_desk.number}"
    # A request costs 0.00021 USD, and may cost more.
    budget = {"name": name, "scope": scope, "subject": name, "amount_usd": "0.001", "period": "total"}
    accepted(agents_desk.gateway.admin.post("/budgets", json=budget))

    def spend(by: str) -> httpx.Response:
        metadata = {"agent_id" if scope == "agent" else "microdao_id": by, "channel_id": "c"}
        metadata.setdefault("agent_id", f"other-{by}")
        return ask(agents_desk, metadata=metadata, max_tokens=10)

    statuses = [spend(name).status_code for _ in range(6)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    cost = f"{0.00021 * statuses.count(200):.5f}".rstrip("0")
    shown = eventually(
        lambda: accepted(agents_desk.gateway.admin.get(f"/budgets/{name}"))["spent_usd"],
        lambda it: it == cost,
    )
    assert shown == cost
    refusal = spend(name)
    assert refusal.json()["error"]["code"] == "insufficient_quota"
    assert refusal.json()["error"]["scope"] == scope
    assert spend(f"not-{name}").status_code == 200
