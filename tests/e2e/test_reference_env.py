"""A gateway obeys the `.env` and the `config.yaml` that the documents of the reference systems print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.script import Script, error_script
from tests.fakes.strict_servers import CLIENT, CLIENT_SECRET, SCOPE, TOKEN, StrictServers
from tests.fakes.upstream import FakeUpstream

# The table of S0's document, as variables.
S0_ENV = """\
MONGO_URI=mongodb://localhost:27017
DB_NAME=dgen_db
DEBUG=false
HOST=0.0.0.0
PORT=8001
MAX_CONCURRENCY=500
RATE_LIMIT=120
WORKERS=4
LLM_TIMEOUT=60
RETRY_ATTEMPTS=3
ALLOW_DEFAULT_TOKEN=true
DEFAULT_MODEL=gpt-4
DEFAULT_MAX_TOKENS=2000
DEFAULT_TEMPERATURE=0.7
CSV_FALLBACK_DIR=telemetry_logs
"""
S1_ENV = """\
# Core Settings
DEBUG=true
TOKEN_SECRET=your_secret_key_here
ALLOW_DEFAULT_TOKEN=true

# Database
MONGO_URI=mongodb://your-server:27017/dgen_db
CSV_FALLBACK_DIR=telemetry_logs

# LLM Authentication
CLIENT_ID=your_client_id
CLIENT_SECRET=your_client_secret
SCOPE=your_scope

# LLM Service URLs
COIN_URL=https://your-coin-url
API_ENDPOINT=https://your-api-endpoint
SURL=https://your-service-url

# LLM Models
DEFAULT_MODEL=gemini
MODEL=your_model
SMODEL=your_secondary_model
SKEY=your_service_key
"""
S2_ENV = """\
OPENAI_API_KEY=sk-...           # OpenAI API key
DEEPSEEK_API_KEY=sk-...         # DeepSeek API key
LLM_PROXY_SECRET=dev-secret-token  # Internal auth token
"""
S3_ENV = """\
# API Keys for LLM providers
OPENAI_API_KEY=your_openai_api_key
GEMINI_API_KEY=your_gemini_api_key
MISTRAL_API_KEY=your_mistral_api_key
CLAUDE_API_KEY=your_claude_api_key

# Server configuration
PORT=8080
LOG_LEVEL=info

# Cache configuration
CACHE_ENABLED=true
CACHE_TTL=300

# Retry Configuration
MAX_RETRIES=3
INITIAL_BACKOFF=1000
MAX_BACKOFF=30000
BACKOFF_FACTOR=2.0
JITTER=0.1
"""
S2_CONFIG = """\
providers:
  openai:
    base_url: "https://api.openai.com/v1"
    api_key_env: "OPENAI_API_KEY"

  local:
    base_url: "http://localhost:11434"

models:
  gpt-4.1-mini:
    provider: "openai"
    physical_name: "gpt-4-1106-preview"
    cost_per_1k_prompt: 0.01
    cost_per_1k_completion: 0.03
"""


class EnvFolder:
    """Starts gateways in folders with a `.env` file; tests listen on a free port of the loopback interface."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self.started: list[GatewayProcess] = []

    def start(self, env: str, **settings: object) -> GatewayProcess:
        """Start a gateway that reads `env`; `settings` and the harness's own come first."""
        folder = self._tmp_path / f"env-{len(self.started)}"
        gateway = GatewayProcess(folder, HOST="127.0.0.1", **settings)
        (folder / ".env").write_text(env)
        self.started.append(gateway)
        return gateway.start()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[EnvFolder]:
    made = EnvFolder(tmp_path)
    yield made
    for gateway in made.started:
        gateway.close()


def _providers(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    return {row["provider_key"]: row for row in accepted(gateway.admin.get("/providers"))["data"]}


def test_s0_16_to_18_s0_20_to_25_s0_27_to_31_s0s_variables(folder: EnvFolder, fake: FakeUpstream) -> None:
    gateway = folder.start(S0_ENV, TOKEN_SECRET="a secret of our own, which is long enough")
    info = accepted(gateway.http.get("/info"))
    assert info["defaults"] == {"model": "gpt-4", "max_tokens": 2000, "temperature": 0.7}
    assert info["limits"] == {"requests_per_minute": 120, "llm_timeout": 60.0, "retry_attempts": 3}
    assert info["authentication"]["default_token_allowed"] is True
    log = eventually(gateway.stderr.read_text, lambda text: "with 4 workers" in text)
    assert "MONGO_URI is set, but not used" in log
    assert "DB_NAME is set, but not used" in log
    assert "ALLOW_DEFAULT_TOKEN is true" in log
    lane = fake.lane("env-s0")
    gateway.create_provider("main", lane.base_url)
    accepted(gateway.http.post("/api/llm/completion", json={"prompt": "hello"}, headers={"x-api-token": "1"}))
    assert lane.chats[-1].json["model"] == "gpt-4"
    assert gateway.stop() == 0
    assert gateway.distress() == []


def test_s0_1_s0_26_requests_go_to_the_downstream_service_of_their_model(
    folder: EnvFolder, fake: FakeUpstream
) -> None:
    lanes = [fake.lane("env-chat"), fake.lane("env-other")]
    services = json.dumps({"chat": lanes[0].base_url, "other": lanes[1].base_url})
    gateway = folder.start(
        f"DOWNSTREAM_SERVICES={services}\nALLOW_DEFAULT_TOKEN=true\n",
        TOKEN_SECRET="a secret of our own, which is long enough",
    )
    assert set(_providers(gateway)) == {"chat", "other"}
    for model, service, lane in (("gpt-4", "chat", lanes[0]), ("other", "other", lanes[1])):
        for each in lanes:
            each.default = Script() if each is lane else error_script(404)
        body = {"prompt": "hello", "model": model}
        answer = accepted(gateway.http.post("/api/llm/completion", json=body, headers={"x-api-token": "1"}))
        assert lane.chats[-1].json["model"] == model
        row = gateway.usage_row(answer["metadata"]["request_id"])
        # The target service of a record.
        assert (row["provider"], row["model"]) == (service, model)
    assert gateway.stop() == 0


def test_s1_12_to_16_s1s_variables(folder: EnvFolder) -> None:
    gateway = folder.start(S1_ENV)
    providers = _providers(gateway)
    assert providers["primary"]["api_base"].startswith("https://your-api-endpoint")
    assert providers["secondary"]["api_base"].startswith("https://your-service-url")
    accepted(
        gateway.http.post(
            "/generate-token", json={"soeid": "ab1234"}, headers={"x-token-secret": "your_secret_key_here"}
        )
    )
    shown = accepted(gateway.admin.get("/providers"))
    for secret in ("your_client_secret", "your_service_key"):
        assert secret not in str(shown)
    assert gateway.stop() == 0
    log = gateway.stderr.read_text()
    assert "MONGO_URI is set, but not used" in log
    for secret in ("your_client_secret", "your_service_key", "your_secret_key_here"):
        assert secret not in log


def test_s1_14_to_16_the_second_service_answers_when_the_first_fails(
    folder: EnvFolder, fake: FakeUpstream
) -> None:
    tokens = StrictServers().start()
    first, second = fake.lane("env-s1-first"), fake.lane("env-s1-second")
    first.default = second.default = Script()
    env = (
        S1_ENV.replace("https://your-coin-url", tokens.tokens)
        .replace("https://your-api-endpoint", first.base_url)
        .replace("https://your-service-url", second.base_url)
        .replace("your_client_id", CLIENT)
        .replace("your_client_secret", f"'{CLIENT_SECRET}'")
        .replace("your_scope", SCOPE)
    )
    try:
        gateway = folder.start(env)
        headers = {"x-api-token": "1"}
        accepted(gateway.http.post("/api/llm/completion", json={"prompt": "hello"}, headers=headers))
        assert first.chats[-1].json["model"] == "your_model"
        assert first.chats[-1].header("authorization") == f"Bearer {TOKEN}"
        assert second.chats == []
        first.default = error_script(500)
        answer = accepted(gateway.http.post("/api/llm/completion", json={"prompt": "hi"}, headers=headers))
        assert second.chats[-1].json["model"] == "your_secondary_model"
        assert second.chats[-1].header("authorization") == "Bearer your_service_key"
        row = gateway.usage_row(answer["metadata"]["request_id"])
        assert (row["provider"], row["outcome"]) == ("secondary", "ok")
        assert tokens.granted == 1
        assert gateway.stop() == 0
    finally:
        tokens.stop()


def test_s2_7_s2_15_s2s_variables(folder: EnvFolder) -> None:
    gateway = folder.start(S2_ENV, DEBUG="true")
    assert set(_providers(gateway)) == {"openai", "deepseek"}
    headers = {"x-internal-secret": "dev-secret-token"}
    accepted(gateway.http.get("/internal/llm/models", headers=headers))
    assert gateway.stop() == 0


def test_s2_4_s2_13_s2_14_s2s_config_yaml(folder: EnvFolder, fake: FakeUpstream, tmp_path: Path) -> None:
    lane = fake.lane("env-s2")
    lane.default = Script()
    config = tmp_path / "config.yaml"
    config.write_text(S2_CONFIG.replace("https://api.openai.com/v1", lane.base_url))
    gateway = folder.start(S2_ENV, DEBUG="true", CONFIG_FILE=config)
    providers = _providers(gateway)
    assert set(providers) == {"openai", "local"}
    assert providers["openai"]["api_base"] == lane.base_url
    headers = {"x-internal-secret": "dev-secret-token"}
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Say hello!"}]}
    answer = accepted(gateway.http.post("/internal/llm/proxy", json=body, headers=headers))
    assert (answer["provider"], answer["model_resolved"]) == ("openai", "gpt-4-1106-preview")
    assert lane.chats[-1].header("authorization") == "Bearer sk-..."
    [row] = gateway.usage_rows(model="gpt-4.1-mini")
    # 9 tokens at 0.01 USD and 4 at 0.03 USD a thousand.
    assert row["cost_usd"] == "0.00021"
    assert gateway.stop() == 0


def test_s3_14_to_18_s3s_variables(folder: EnvFolder) -> None:
    gateway = folder.start(S3_ENV)
    providers = _providers(gateway)
    assert set(providers) == {"openai", "gemini", "mistral", "claude"}
    types = {key: row["provider_type"] for key, row in providers.items()}
    assert types == {"openai": "openai", "gemini": "gemini", "mistral": "mistral", "claude": "anthropic"}
    assert "your_openai_api_key" not in str(providers)
    assert gateway.stop() == 0
    assert "your_openai_api_key" not in gateway.stderr.read_text()
