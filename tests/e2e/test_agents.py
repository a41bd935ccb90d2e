"""The agents' API as agent-runtime uses it: requests, replies, streams and their rows (S2)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.agents import HEADERS, PROXY, SECRET, agent, ask, events, refused
from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import accepted
from tests.fakes.script import Script, Tool, error_script

# --- requests and replies ---


def test_s2_9_s2_10_s2_5_a_request_is_answered_and_leaves_a_row(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    body = {
        "model": agents_desk.model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant"},
            {"role": "user", "content": "Hello!"},
        ],
        "max_tokens": 100,
        "temperature": 0.7,
        "metadata": {
            "agent_id": agent(agents_desk),
            "microdao_id": f"microdao:{agents_desk.number}",
            "channel_id": f"channel-{agents_desk.number}",
        },
    }
    response = agents_desk.gateway.http.post(PROXY, json=body, headers=HEADERS)
    answer = accepted(response)
    latency_ms = answer.pop("latency_ms")
    assert answer == {
        "content": f"{lane.name} says: Hello!",
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        "provider": lane.name,
        "model_resolved": agents_desk.upstream_model,
    }
    assert isinstance(latency_ms, float)
    assert latency_ms > 0
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-llm-gateway-model"] == agents_desk.model
    assert response.headers["x-ratelimit-limit-requests"] == "10"
    # The provider sees OpenAI's fields alone.
    assert lane.last.json == {
        "model": agents_desk.upstream_model,
        "messages": body["messages"],
        "max_tokens": 100,
        "temperature": 0.7,
    }
    assert lane.last.header("x-internal-secret") is None
    row = agents_desk.gateway.usage_row(response.headers["x-request-id"])
    assert {
        name: row[name] for name in ("agent", "tenant", "channel", "credential", "end_user", "endpoint")
    } == {
        "agent": agent(agents_desk),
        "tenant": f"microdao:{agents_desk.number}",
        "channel": f"channel-{agents_desk.number}",
        "credential": "surface:agents",
        "end_user": None,
        "endpoint": PROXY,
    }
    assert (row["model"], row["provider"], row["upstream_model"]) == (
        agents_desk.model,
        lane.name,
        agents_desk.upstream_model,
    )
    assert (row["total_tokens"], row["status_code"], row["temperature"]) == (13, 200, 0.7)
    assert row["response_bytes"] == len(response.content)
    assert row["request_bytes"] == len(response.request.content)


async def test_s2_18_agent_runtimes_client_gets_its_answer(agents_desk: Desk) -> None:
    lane = agents_desk.provider()

    class Blueprint:
        llm_model = agents_desk.model
        id = agent(agents_desk, "blueprint")
        microdao_id = "microdao:7"

    async def call_llm(agent_blueprint: type[Blueprint], messages: list[dict[str, str]]) -> Any:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.post(
                f"{agents_desk.gateway.origin}/internal/llm/proxy",
                headers={"X-Internal-Secret": SECRET},
                json={
                    "model": agent_blueprint.llm_model,
                    "messages": messages,
                    "metadata": {
                        "agent_id": agent_blueprint.id,
                        "microdao_id": agent_blueprint.microdao_id,
                    },
                },
            )
            return response.json()

    answer = await call_llm(Blueprint, [{"role": "user", "content": "Say hello!"}])
    assert answer["content"] == f"{lane.name} says: Say hello!"


def test_every_field_of_openai_that_is_taken_reaches_the_provider_as_it_was_sent(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    fields: dict[str, Any] = {
        "max_completion_tokens": 5,
        "temperature": 1,
        "top_p": 0.5,
        "frequency_penalty": -2,
        "presence_penalty": 2.0,
        "stop": ["a", "b"],
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "user": "u-1",
    }
    message = {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "h\u00e9"}]}
    response = ask(agents_desk, messages=[message], stream=False, **fields, functions=None)
    accepted(response)
    assert lane.last.json == {"model": agents_desk.upstream_model, "messages": [message], **fields}
    assert agents_desk.gateway.usage_row(response.headers["x-request-id"])["end_user"] == "u-1"


def test_s2_21_tools_are_called_and_their_results_are_sent_back(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    lane.next.append(
        Script(
            tools=(Tool(id="call_1", name="weather", arguments='{"city":"Lviv"}'),),
            finish_reason="tool_calls",
        )
    )
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    answer = accepted(ask(agents_desk, tools=tools))
    assert (answer["content"], answer["finish_reason"]) == ("", "tool_calls")
    (call,) = answer["tool_calls"]
    assert (call["id"], call["type"]) == ("call_1", "function")
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Lviv"}'}
    asked = {"role": "user", "content": "weather?"}
    called = {"role": "assistant", "content": None, "tool_calls": answer["tool_calls"]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    second = accepted(ask(agents_desk, tools=tools, messages=[asked, called, result]))
    assert second["content"] == f"{lane.name} says: sunny"
    assert "tool_calls" not in second
    assert lane.last.json["messages"] == [asked, called, result]


def test_s2_21_the_older_functions_are_called_too(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    call = {"name": "weather", "arguments": "{}"}
    message = {"role": "assistant", "content": None, "function_call": call}
    choice = {"index": 0, "message": message, "finish_reason": "function_call"}
    usage_ = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    lane.next.append(Script(body=json.dumps({"choices": [choice], "usage": usage_}).encode()))
    answer = accepted(ask(agents_desk, functions=[{"name": "weather"}], function_call="auto"))
    assert (answer["content"], answer["function_call"], answer["finish_reason"]) == (
        "",
        call,
        "function_call",
    )
    assert lane.last.json["functions"] == [{"name": "weather"}]


def test_an_answer_that_was_cut_short_says_so(agents_desk: Desk) -> None:
    agents_desk.provider().default = Script(finish_reason="length")
    assert accepted(ask(agents_desk))["finish_reason"] == "length"


# --- streams ---


def test_s2_19_a_stream_sends_texts_and_ends_with_what_is_known(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    response = ask(agents_desk, stream=True)
    *texts, last, done = events(response)
    assert done == "[DONE]"
    assert all(text.keys() == {"content"} and text["content"] for text in texts)
    assert "".join(text["content"] for text in texts) == f"{lane.name} says: hello"
    assert last.pop("latency_ms") > 0
    assert last == {
        "content": "",
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        "provider": lane.name,
        "model_resolved": agents_desk.upstream_model,
        "finish_reason": "stop",
    }
    row = agents_desk.gateway.usage_row(response.headers["x-request-id"])
    assert (row["stream"], row["response_bytes"]) == (True, len(response.content))
    assert (row["agent"], row["total_tokens"], row["outcome"]) == (agent(agents_desk), 13, "ok")


def test_s2_19_s2_21_tool_calls_are_streamed_as_openais_deltas(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    lane.default = Script(
        tools=(Tool(id="call_1", name="weather", arguments='{"city":"Lviv"}'),), finish_reason="tool_calls"
    )
    *parts, last, _ = events(
        ask(agents_desk, stream=True, tools=[{"type": "function", "function": {"name": "weather"}}])
    )
    deltas = [delta for part in parts for delta in part["tool_calls"]]
    assert all(part["content"] == "" for part in parts)
    assert (deltas[0]["index"], deltas[0]["id"], deltas[0]["function"]["name"]) == (0, "call_1", "weather")
    assert "".join(delta["function"].get("arguments") or "" for delta in deltas) == '{"city":"Lviv"}'
    assert last["finish_reason"] == "tool_calls"


def test_a_stream_that_breaks_ends_with_an_error_and_is_not_done(agents_desk: Desk) -> None:
    agents_desk.provider().default = Script(pieces=("a", "b", "c"), fault="fin", fault_at=3)
    response = ask(agents_desk, stream=True)
    *texts, last = events(response)
    assert texts[0] == {"content": "a"}
    request_id = response.headers["x-request-id"]
    assert last["detail"] == "The connection to the provider broke in the middle of its answer."
    assert last["error"] == {
        "type": "upstream_error",
        "code": "upstream_cut",
        "param": None,
        "request_id": request_id,
    }
    row = agents_desk.gateway.usage_row(request_id)
    assert (row["outcome"], row["error_type"]) == ("error", "upstream_cut")
    assert row["response_bytes"] == len(response.content)


def test_s2_26_a_stream_that_fails_before_its_content_is_answered_by_another_provider(
    agents_desk: Desk,
) -> None:
    agents_desk.failing(Script(fault="reset", fault_at=0), weight=1000)
    other = agents_desk.provider("other")
    *texts, last, done = events(ask(agents_desk, stream=True))
    assert "".join(text["content"] for text in texts) == f"{other.name} says: hello"
    assert (last["provider"], done) == (other.name, "[DONE]")


# --- what it has in common with the other surfaces ---


def test_s2_20_replies_are_cached_when_the_header_or_the_model_asks_for_it(agents_desk: Desk) -> None:
    lane = agents_desk.provider()
    directed = HEADERS | {"x-llm-gateway-cache": "on"}
    first, second = (ask(agents_desk, headers=directed, temperature=0) for _ in range(2))
    assert [answer.headers["x-llm-gateway-cache"] for answer in (first, second)] == ["miss", "hit"]
    one, other = accepted(first), accepted(second)
    assert one.pop("latency_ms") > 0
    assert other.pop("latency_ms") >= 0
    assert one == other
    assert len(lane.chats) == 1
    row = agents_desk.gateway.usage_row(second.headers["x-request-id"])
    assert (row["cache_hit"], row["cost_usd"], row["agent"]) == (True, "0", agent(agents_desk))
    assert row["response_bytes"] == len(second.content)
    streams = [ask(agents_desk, headers=directed, temperature=0, stream=True) for _ in range(2)]
    assert [answer.headers["x-llm-gateway-cache"] for answer in streams] == ["miss", "hit"]
    texts = ["".join(event["content"] for event in events(answer)[:-1]) for answer in streams]
    assert texts == [one["content"]] * 2
    assert events(streams[1])[-1] == "[DONE]"
    assert len(lane.chats) == 2
    accepted(
        agents_desk.gateway.admin.post("/models", json={"name": agents_desk.model, "cache": {"ttl": 60}})
    )
    ruled = [ask(agents_desk, temperature=0, seed=1) for _ in range(2)]
    assert [answer.headers["x-llm-gateway-cache"] for answer in ruled] == ["miss", "hit"]
    # Only deterministic requests, unless the client asks for it.
    calls = len(lane.chats)
    for _ in range(2):
        accepted(ask(agents_desk, "hot", temperature=1))
    assert len(lane.chats) == calls + 2


def test_s2_26_another_provider_or_model_answers_when_the_first_fails(agents_desk: Desk) -> None:
    agents_desk.failing(error_script(500), weight=1000)
    other = agents_desk.provider("other")
    response = ask(agents_desk)
    assert accepted(response)["provider"] == other.name
    assert response.headers["x-llm-gateway-attempts"] == "2"
    fallback = f"fallback-{agents_desk.number}"
    third = agents_desk.provider("third", model_mapping={fallback: "the-third"})
    accepted(
        agents_desk.gateway.admin.post("/models", json={"name": agents_desk.model, "fallbacks": [fallback]})
    )
    other.default = error_script(503)
    answer = accepted(ask(agents_desk))
    assert (answer["provider"], answer["model_resolved"]) == (third.name, "the-third")


@pytest.mark.parametrize("kind", ["openai", "deepseek", "ollama", "vllm", "llamacpp"])
def test_s2_2_cloud_and_local_providers_answer(agents_desk: Desk, kind: str) -> None:
    lane = agents_desk.provider(provider_type=kind)
    answer = accepted(ask(agents_desk))
    assert (answer["content"], answer["provider"]) == (f"{lane.name} says: hello", lane.name)


def test_a_dry_run_is_answered_with_an_estimate_and_a_cost_that_is_too_high_is_refused(
    agents_desk: Desk,
) -> None:
    lane = agents_desk.provider()
    prices = {"input_tokens": "10", "output_tokens": "30"}
    accepted(
        agents_desk.gateway.admin.post(
            "/prices",
            json={"provider": lane.name, "upstream_model": agents_desk.upstream_model, "prices": prices},
        )
    )
    dry = ask(agents_desk, headers=HEADERS | {"x-llm-gateway-dry-run": "true"}, max_tokens=10)
    assert dry.status_code == 200, dry.text
    costly = ask(agents_desk, headers=HEADERS | {"x-llm-gateway-max-cost-usd": "0.000001"}, max_tokens=1000)
    refused(costly, 402, "max_cost_exceeded")
    wrong = ask(agents_desk, headers=HEADERS | {"x-llm-gateway-max-cost-usd": "much"})
    assert "x-llm-gateway-max-cost-usd" in refused(wrong, 400, "invalid_header")
    assert lane.chats == []
