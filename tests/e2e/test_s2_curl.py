"""S2's documented commands run as they are printed, and every field of their answers is as documented."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.curl import CurlShell
from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.script import Script, Tokens, Tool
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

# The document prints this body, and the header beside it.
PROXY = """
curl -X POST http://localhost:7007/internal/llm/proxy \\
  -H "Content-Type: application/json" -H "X-Internal-Secret: dev-secret-token" \\
  -d '{
  "model": "gpt-4.1-mini",
  "messages": [
    {"role": "system", "content": "You are a helpful assistant"},
    {"role": "user", "content": "Hello!"}
  ],
  "max_tokens": 100,
  "temperature": 0.7,
  "metadata": {
    "agent_id": "agent:sofia",
    "microdao_id": "microdao:7",
    "channel_id": "channel-uuid"
  }
}'
"""
OPENAI = """
curl -X POST http://localhost:7007/internal/llm/proxy \\
  -H "Content-Type: application/json" \\
  -H "X-Internal-Secret: dev-secret-token" \\
  -d '{
    "model": "gpt-4.1-mini",
    "messages": [
      {"role": "user", "content": "Say hello!"}
    ],
    "metadata": {
      "agent_id": "agent:test"
    }
  }'
"""
LOCAL = """
curl -X POST http://localhost:7007/internal/llm/proxy \\
  -H "Content-Type: application/json" \\
  -H "X-Internal-Secret: dev-secret-token" \\
  -d '{
    "model": "dagi-local-8b",
    "messages": [
      {"role": "user", "content": "Test"}
    ]
  }'
"""
MODELS = """
curl http://localhost:7007/internal/llm/models \\
  -H "X-Internal-Secret: dev-secret-token"
"""
USAGE = """
curl http://localhost:7007/internal/llm/usage?agent_id=agent:sofia \\
  -H "X-Internal-Secret: dev-secret-token"
"""
INTEGRATION = """
import httpx

async def call_llm(agent_blueprint, messages):
    async with httpx.AsyncClient() as client:
        response = await client.post(
            "http://llm-proxy:7007/internal/llm/proxy",
            headers={"X-Internal-Secret": "dev-secret-token"},
            json={
                "model": agent_blueprint.llm_model,
                "messages": messages,
                "metadata": {
                    "agent_id": agent_blueprint.id,
                    "microdao_id": agent_blueprint.microdao_id
                }
            }
        )
        return response.json()
"""
SETTINGS = {"DEBUG": "true", "LLM_PROXY_SECRET": "dev-secret-token"}
ANSWER = {"content", "usage", "provider", "model_resolved", "latency_ms"}


class DocumentedProxy:
    """A gateway with the document's models, its providers, and a shell."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream, name: str) -> None:
        self.gateway = gateway
        self.openai = fake.lane(f"{name}-openai")
        self.local = fake.lane(f"{name}-local")
        self.shell = CurlShell(gateway)
        for lane in (self.openai, self.local):
            lane.default = Script(
                text="Hello! How can I help you today?", tokens=Tokens(prompt=25, completion=10), delay=0.2
            )
        gateway.create_provider(
            "openai",
            self.openai.base_url,
            model_mapping={"gpt-4.1-mini": "gpt-4-1106-preview"},
            price_provider="openai",
        )
        gateway.create_provider(
            "local",
            self.local.base_url,
            provider_type="ollama",
            api_key=None,
            model_mapping={"dagi-local-8b": "qwen2.5:8b"},
        )

    def answered(self, answer: Any, provider: str, resolved: str) -> None:
        """Check the shape of an answer."""
        assert ANSWER <= set(answer) <= ANSWER | {"finish_reason", "tool_calls"}
        assert answer["content"] == "Hello! How can I help you today?"
        assert answer["usage"] == {"prompt_tokens": 25, "completion_tokens": 10, "total_tokens": 35}
        assert (answer["provider"], answer["model_resolved"]) == (provider, resolved)
        # Milliseconds: the provider takes 200.
        assert isinstance(answer["latency_ms"], float)
        assert 200 <= answer["latency_ms"] < 15_000


@pytest.fixture(scope="module")
def proxy(fake: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedProxy]:
    """Return a gateway with S2's secret."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("documented-s2"), **SETTINGS)
    try:
        yield DocumentedProxy(gateway.start(), fake, "documented-s2")
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


def test_s2_3_s2_9_s2_10_a_request_with_all_documented_fields(proxy: DocumentedProxy) -> None:
    proxy.answered(proxy.shell.json(PROXY), "openai", "gpt-4-1106-preview")
    sent = proxy.openai.chats[-1].json
    assert sent["messages"] == [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": "Hello!"},
    ]
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("gpt-4-1106-preview", 100, 0.7)
    assert "metadata" not in sent


def test_s2_5_s2_23_its_record_names_agent_microdao_and_channel(proxy: DocumentedProxy) -> None:
    before = {row["request_id"] for row in proxy.gateway.usage_rows()}
    proxy.shell.json(PROXY)
    [row] = [row for row in proxy.gateway.usage_rows() if row["request_id"] not in before]
    expected = {
        "agent": "agent:sofia",
        "tenant": "microdao:7",
        "channel": "channel-uuid",
        "model": "gpt-4.1-mini",
        "upstream_model": "gpt-4-1106-preview",
        "provider": "openai",
        "endpoint": "/internal/llm/proxy",
        "total_tokens": 35,
        "temperature": 0.7,
        "outcome": "ok",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["cost_usd"] is not None
    assert row["latency_ms"] >= 200


@pytest.mark.parametrize(
    ("command", "provider", "resolved"),
    [
        pytest.param(OPENAI, "openai", "gpt-4-1106-preview", id="openai"),
        pytest.param(LOCAL, "local", "qwen2.5:8b", id="local"),
    ],
)
def test_s2_2_s2_10_documented_tests_of_providers(
    proxy: DocumentedProxy, command: str, provider: str, resolved: str
) -> None:
    proxy.answered(proxy.shell.json(command), provider, resolved)


def test_s2_11_models_have_the_documented_fields(proxy: DocumentedProxy) -> None:
    listed = proxy.shell.json(MODELS)
    assert set(listed) == {"models"}
    models = {model["name"]: model for model in listed["models"]}
    assert set(models) == {"gpt-4.1-mini", "dagi-local-8b"}
    for model in models.values():
        assert set(model) == {"name", "provider", "physical_name", "max_tokens"}
        assert model["max_tokens"] is None or model["max_tokens"] > 0
    shown = models["gpt-4.1-mini"]
    assert (shown["provider"], shown["physical_name"]) == ("openai", "gpt-4-1106-preview")


def test_s2_12_usage_has_the_documented_fields(launch: Launch, fake: FakeUpstream) -> None:
    proxy = DocumentedProxy(launch(**SETTINGS), fake, "documented-s2-usage")
    nothing = proxy.shell.json(USAGE)
    assert (nothing["total_requests"], nothing["total_tokens"]) == (0, 0)
    for _ in range(3):
        proxy.shell.json(PROXY)
    proxy.openai.default = Script(status=500, body=b"{}")
    proxy.shell.json(PROXY, 502)
    used = proxy.shell.json(USAGE)
    assert set(used) >= {"total_requests", "total_tokens", "avg_latency_ms", "success_rate"}
    assert (used["total_requests"], used["total_tokens"]) == (4, 105)
    # A share, and milliseconds.
    assert used["success_rate"] == 0.75
    assert 100 <= used["avg_latency_ms"] < 15_000
    other = proxy.shell.json(USAGE.replace("agent:sofia", "agent:test"))
    assert other["total_requests"] == 0


async def test_s2_18_the_documented_client_works(proxy: DocumentedProxy) -> None:
    scope: dict[str, Any] = {}
    exec(INTEGRATION.replace("http://llm-proxy:7007", proxy.gateway.origin), scope)
    agent = SimpleNamespace(llm_model="gpt-4.1-mini", id="agent:sofia", microdao_id="microdao:7")
    answer = await scope["call_llm"](agent, [{"role": "user", "content": "Hello!"}])
    proxy.answered(answer, "openai", "gpt-4-1106-preview")


def test_s2_7_only_the_secret_opens_it(proxy: DocumentedProxy, launch: Launch) -> None:
    before = len(proxy.openai.chats)
    for command in (PROXY, MODELS, USAGE):
        refused = proxy.shell.json(command.replace("dev-secret-token", "another"), 401)
        assert set(refused) >= {"detail", "error"}
        proxy.shell.json(command.replace("X-Internal-Secret: dev-secret-token", "X-Other: 1"), 401)
    assert len(proxy.openai.chats) == before
    for settings in ({}, {"LLM_PROXY_SECRET": "dev-secret-token"}):
        shut = CurlShell(launch(**settings))
        for command in (PROXY, MODELS, USAGE):
            assert "LLM_PROXY_SECRET" in json.dumps(shut.json(command, 503))


def test_s2_6_the_eleventh_request_of_an_agent_in_a_minute_is_refused(
    launch: Launch, fake: FakeUpstream
) -> None:
    proxy = DocumentedProxy(launch(**SETTINGS), fake, "documented-s2-limit")
    for lane in (proxy.openai, proxy.local):
        lane.default = Script()
    for _ in range(10):
        proxy.shell.json(PROXY)
    refused = proxy.shell.json(PROXY, 429)
    assert "agent" in json.dumps(refused)
    proxy.shell.json(OPENAI)


def test_s2_21_function_calls_come_back(proxy: DocumentedProxy) -> None:
    tools = '"tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],'
    proxy.openai.next.append(
        Script(tools=(Tool(id="call_1", name="find", arguments='{"q": "x"}'),), finish_reason="tool_calls")
    )
    answer = proxy.shell.json(
        OPENAI.replace('"metadata"', f'{tools} "metadata"').replace("agent:test", "agent:t")
    )
    assert proxy.openai.chats[-1].json["tools"][0]["function"]["name"] == "find"
    [call] = answer["tool_calls"]
    assert (call["id"], call["function"]) == ("call_1", {"name": "find", "arguments": '{"q": "x"}'})


def test_failures_have_the_shape_of_fastapi(proxy: DocumentedProxy) -> None:
    other = PROXY.replace("agent:sofia", "agent:clumsy")
    faulty = proxy.shell.json(other.replace("0.7", '"warm"'), 422)
    assert faulty["detail"][0]["loc"] == ["body", "temperature"]
    missing = proxy.shell.json(other.replace("gpt-4.1-mini", "no-such-model"), 404)
    assert "no-such-model" in missing["detail"]
    proxy.shell.json(other.replace('"messages"', '"mesages"'), 422)
