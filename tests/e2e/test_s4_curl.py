"""S4's curl commands run as they are written there; only the port is this test's own (S4.33)."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.conftest import STORES, Launch
from tests.e2e.curl import CurlShell
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

CHAT = """
curl http://localhost:18000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $YOUR_CREDENTIAL_KEY" \\
  -d '{
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "user", "content": "Hello!"}]
  }'
"""
STREAM = """
curl http://localhost:18000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $YOUR_CREDENTIAL_KEY" \\
  -d '{
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": true
  }'
"""
PREFIXED = """
curl http://localhost:18000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "Proxy/gpt-4",
    "messages": [{"role": "user", "content": "Hello!"}]
  }'
"""
PLAIN = PREFIXED.replace("Proxy/", "")
HEALTH = "curl http://localhost:18000/health"
HEALTH_DETAILED = "curl http://localhost:18000/health/detailed"
CREATE_PROVIDER = """
curl -X POST http://localhost:18000/admin/v1/providers \\
  -H "Authorization: Bearer $ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "provider_key": "openai-main",
    "provider_type": "openai",
    "api_base": "https://api.openai.com/v1",
    "api_key": "sk-xxx",
    "model_mapping": {},
    "is_enabled": true
  }'
"""
LIST_PROVIDERS = 'curl http://localhost:18000/admin/v1/providers -H "Authorization: Bearer $ADMIN_KEY"'
GET_PROVIDER = 'curl http://localhost:18000/admin/v1/providers/1 -H "Authorization: Bearer $ADMIN_KEY"'
UPDATE_PROVIDER = """
curl -X PUT http://localhost:18000/admin/v1/providers/1 \\
  -H "Authorization: Bearer $ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "api_base": "https://api.openai.com/v1",
    "api_key": "sk-new-key",
    "model_mapping": {"gpt-4": "gpt-4-turbo"},
    "is_enabled": true
  }'
"""
DELETE_PROVIDER = """
curl -X DELETE http://localhost:18000/admin/v1/providers/1 \\
  -H "Authorization: Bearer $ADMIN_KEY"
"""
CREATE_CREDENTIAL = """
curl -X POST http://localhost:18000/admin/v1/credentials \\
  -H "Authorization: Bearer $ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "key": "sk-my-secret-key",
    "name": "Default Key",
    "allowed_models": ["*"],
    "is_enabled": true
  }'
"""
LIST_CREDENTIALS = 'curl http://localhost:18000/admin/v1/credentials -H "Authorization: Bearer $ADMIN_KEY"'
RELOAD = 'curl -X POST http://localhost:18000/admin/v1/config/reload -H "Authorization: Bearer $ADMIN_KEY"'
VERSION = 'curl http://localhost:18000/admin/v1/config/version -H "Authorization: Bearer $ADMIN_KEY"'
CREATE_LIMITED = """
curl -X POST http://localhost:18000/admin/v1/credentials \\
  -H "Authorization: Bearer $ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "key": "sk-limited",
    "name": "Limited Key",
    "rate_limit": 100,
    "is_enabled": true
  }'
"""
CREATE_UNLIMITED = """
curl -X POST http://localhost:18000/admin/v1/credentials \\
  -H "Authorization: Bearer $ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "key": "sk-unlimited",
    "name": "Unlimited Key",
    "is_enabled": true
  }'
"""


def shell_of(gateway: GatewayProcess) -> CurlShell:
    """Return a shell that has the variables of the documents."""
    return CurlShell(gateway, ADMIN_KEY=ADMIN_KEY, YOUR_CREDENTIAL_KEY="sk-my-secret-key")


@pytest.mark.parametrize("store", STORES)
def test_s4_33_s4_38_to_46_admin_commands(launch: Launch, store: str) -> None:
    shell = shell_of(launch(store))
    made = shell.json(CREATE_PROVIDER, 201)
    assert (made["id"], made["provider_key"]) == (1, "openai-main")
    assert shell.json(CREATE_PROVIDER, 409)["error"]["code"]
    listed = shell.json(LIST_PROVIDERS)
    assert [row["provider_key"] for row in listed["data"]] == ["openai-main"]
    assert listed["next_cursor"] is None
    shown = shell.json(GET_PROVIDER)
    assert (shown["api_base"], shown["model_mapping"], shown["is_enabled"]) == (
        "https://api.openai.com/v1",
        {},
        True,
    )
    changed = shell.json(UPDATE_PROVIDER)
    assert changed["model_mapping"] == {"gpt-4": "gpt-4-turbo"}
    assert changed["provider_key"] == "openai-main"
    version = shell.json(VERSION)["version"]
    assert shell.json(CREATE_CREDENTIAL, 201)["name"] == "Default Key"
    limits = {shell.json(CREATE_LIMITED, 201)["name"]: 100, shell.json(CREATE_UNLIMITED, 201)["name"]: None}
    listed = shell.json(LIST_CREDENTIALS)
    assert {row["name"]: row["rate_limit"] for row in listed["data"]} == limits | {"Default Key": None}
    assert shell.json(VERSION)["version"] > version
    assert shell.json(RELOAD)["version"] >= shell.json(VERSION)["version"]
    assert shell.json(DELETE_PROVIDER)["deleted"] is True
    shell.json(DELETE_PROVIDER, 404)
    assert shell.json(LIST_PROVIDERS)["data"] == []
    everything = "".join(
        shell.text(command) for command in (LIST_PROVIDERS, LIST_CREDENTIALS, VERSION, HEALTH_DETAILED)
    )
    for secret in ("sk-xxx", "sk-new-key", "sk-my-secret-key", "sk-limited", ADMIN_KEY):
        assert secret not in everything


def test_s4_33_s4_24_to_30_usage_commands(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch()
    lane = fake.lane("curl")
    gateway.create_provider("openai-main", lane.base_url, model_mapping={})
    shell = shell_of(gateway)
    shell.json(CREATE_CREDENTIAL, 201)
    assert shell.json(CHAT)["choices"][0]["message"]["content"] == "curl says: Hello!"
    streamed = shell.text(STREAM)
    assert streamed.count("data: ") > 4
    assert streamed.rstrip().endswith("data: [DONE]")
    assert shell.json(HEALTH)["status"]
    assert shell.json(HEALTH_DETAILED)["providers"]["openai-main"]["status"] == "healthy"
    assert "llm_proxy_requests_total" in shell.text("curl http://localhost:18000/metrics")
    assert "<html" in shell.text("curl http://localhost:18000/docs").lower()


def test_s4_33_s4_32_prefix_commands_without_a_key(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(PROVIDER_SUFFIX="Proxy", ALLOW_ANONYMOUS="true")
    lane = fake.lane("anonymous")
    gateway.create_provider("main", lane.base_url, model_mapping={})
    shell = shell_of(gateway)
    shell.json(PREFIXED)
    shell.json(PLAIN)
    assert [call.json["model"] for call in lane.chats] == ["gpt-4", "gpt-4"]
    # As soon as there is one credential, everybody needs one (C23).
    shell.json(CREATE_CREDENTIAL, 201)
    shell.json(PLAIN, 401)
    assert len(lane.chats) == 2
