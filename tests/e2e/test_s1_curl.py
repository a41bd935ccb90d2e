"""S0's and S1's documented commands run as they are printed, and every field of their answers is as documented."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.curl import CurlShell
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.calls import Lane
from tests.fakes.script import Script, Tokens, error_body
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

GENERATE = """
curl -X POST http://localhost:8001/generate-token \\
  -H "X-Token-Secret: dgen_secret_key" \\
  -H "Content-Type: application/json" \\
  -d '{"soeid": "default_user"}'
"""
VERIFY = """
curl -X POST http://localhost:8001/verify-token \\
  -H "X-Token-Secret: dgen_secret_key" \\
  -H "Content-Type: application/json" \\
  -d '{"token": "1"}'
"""
COMPLETION = """
curl -X POST http://localhost:8001/api/llm/completion \\
  -H "X-API-Token: 1" \\
  -H "Content-Type: application/json" \\
  -d '{
    "soeid": "default_user",
    "project_name": "default_project",
    "prompt": "Hello, how are you?",
    "model": "gemini",
    "temperature": 0.3,
    "max_tokens": 10000
  }'
"""
TELEMETRY = """
curl -X POST http://localhost:8001/telemetry \\
  -H "X-API-Token: 1" \\
  -H "Content-Type: application/json" \\
  -d '{
    "event_type": "custom_event",
    "request_id": "test-123",
    "client_ip": "127.0.0.1",
    "metadata": {
      "client_id": "default_user",
      "soeid": "default_user",
      "project_name": "default_project",
      "target_service": "custom",
      "endpoint": "/custom",
      "method": "POST",
      "status_code": 200,
      "latency_ms": 100.0,
      "request_size": 50,
      "response_size": 200
    }
  }'
"""
# S0 prints a body, and the header beside it.
S0_BODY = """{
  "soeid": "ab1234",
  "project_name": "risk-analysis",
  "prompt": "Explain the concept of market volatility",
  "model": "gpt-4",
  "temperature": 0.7,
  "max_tokens": 2000
}"""
S0_COMPLETION = f"""
curl -X POST http://localhost:8001/api/llm/completion \\
  -H "X-API-Token: 1" -H "Content-Type: application/json" \\
  -d '{S0_BODY}'
"""
S0_CHAT = S0_COMPLETION.replace("/completion", "/chat")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SETTINGS = {"DEBUG": "true", "TOKEN_SECRET": "dgen_secret_key", "ALLOW_DEFAULT_TOKEN": "true"}
TOKENS = Tokens(prompt=25, completion=45)


class DocumentedService:
    """A gateway as S1's documents set it up, its provider, and a shell."""

    def __init__(self, gateway: GatewayProcess, lane: Lane) -> None:
        self.gateway = gateway
        self.lane = lane
        self.shell = CurlShell(gateway)
        lane.default = Script(text="Hello! I'm doing well.", tokens=TOKENS, delay=0.2)
        gateway.create_provider(
            "dgen-llm", lane.base_url, model_mapping={"gemini": "gemini-2.5-flash", "gpt-4": "gpt-4"}
        )

    def completion(self, answer: Any, model: str) -> dict[str, Any]:
        """Check the shape of a completion, and return its metadata."""
        assert set(answer) == {"completion", "model", "metadata"}
        assert answer["completion"] == "Hello! I'm doing well."
        assert answer["model"] == model
        metadata: dict[str, Any] = answer["metadata"]
        assert set(metadata) == {"request_id", "latency", "tokens", "timestamp"}
        # Seconds: the provider takes a fifth of one.
        assert 0.2 <= metadata["latency"] < 15
        assert round(metadata["latency"], 3) == metadata["latency"]
        assert metadata["tokens"] == {"prompt": 25, "completion": 45, "total": 70}
        assert is_now(metadata["timestamp"])
        return metadata


def is_now(timestamp: str) -> bool:
    """Tell whether a timestamp has the documented form and is of this minute."""
    assert TIMESTAMP.fullmatch(timestamp)
    return abs((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()) < 60


@pytest.fixture(scope="module")
def lane(fake: FakeUpstream) -> Lane:
    return fake.lane("documented-s1")


@pytest.fixture(scope="module")
def service(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedService]:
    """Return a gateway with S1's settings."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("documented-s1"), **SETTINGS)
    try:
        yield DocumentedService(gateway.start(), lane)
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


def test_s1_1_s1_2_a_token_is_made(service: DocumentedService) -> None:
    made = service.shell.json(GENERATE)
    assert set(made) == {"token", "soeid", "timestamp"}
    assert made["soeid"] == "default_user"
    assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", made["token"])
    assert is_now(made["timestamp"])
    other = service.shell.json(GENERATE.replace("default_user", "ab1234"))
    assert other["soeid"] == "ab1234"
    service.shell.json(GENERATE.replace("dgen_secret_key", "another"), 401)
    service.shell.json(GENERATE.replace('"default_user"', "5"), 422)
    service.shell.json(GENERATE.replace('\'{"soeid"', '\'{"soied"'), 422)


def test_s1_11_a_token_without_a_soeid_is_the_default_users(service: DocumentedService) -> None:
    assert service.shell.json(GENERATE.replace('"soeid": "default_user"', ""))["soeid"] == "default_user"


def test_s1_1_s1_3_a_token_is_checked(service: DocumentedService) -> None:
    checked = service.shell.json(VERIFY)
    assert set(checked) == {"valid", "data", "timestamp"}
    assert checked["valid"] is True
    assert checked["data"] == {"soeid": "default_user"}
    assert is_now(checked["timestamp"])
    made = service.shell.json(GENERATE.replace("default_user", "ab1234"))["token"]
    again = service.shell.json(VERIFY.replace('"1"', f'"{made}"'))
    assert (again["valid"], again["data"]) == (True, {"soeid": "ab1234"})
    forged = service.shell.json(VERIFY.replace('"1"', f'"{made[:-4]}AAAA"'))
    assert forged["valid"] is False
    assert "ab1234" not in json.dumps(forged)
    service.shell.json(VERIFY.replace("dgen_secret_key", "another"), 401)


def test_s0_33_s1_4_s1_5_a_completion_has_the_documented_fields(service: DocumentedService) -> None:
    service.completion(service.shell.json(COMPLETION), "gemini")
    sent = service.lane.chats[-1].json
    assert sent["messages"] == [{"role": "user", "content": "Hello, how are you?"}]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("gemini-2.5-flash", 0.3, 10_000)


def test_s0_6_s1_4_a_completion_with_a_token_is_its_users(service: DocumentedService) -> None:
    token = service.shell.json(GENERATE.replace("default_user", "ab1234"))["token"]
    answer = service.shell.json(COMPLETION.replace("X-API-Token: 1", f"X-API-Token: {token}"))
    row = service.gateway.usage_row(service.completion(answer, "gemini")["request_id"])
    assert row["end_user"] == "ab1234"
    service.shell.json(COMPLETION.replace("X-API-Token: 1", f"X-API-Token: {token[:-4]}AAAA"), 401)
    service.shell.json(COMPLETION.replace("X-API-Token: 1", "X-API-Token: 2"), 401)


@pytest.mark.parametrize("command", [S0_COMPLETION, S0_CHAT], ids=["s0_33", "s0_34"])
def test_s0_7_s0_39_s0_40_documented_fields_are_taken(service: DocumentedService, command: str) -> None:
    service.completion(service.shell.json(command), "gpt-4")
    sent = service.lane.chats[-1].json
    assert sent["messages"] == [{"role": "user", "content": "Explain the concept of market volatility"}]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("gpt-4", 0.7, 2000)


def test_s0_2_s0_3_s0_41_to_48_s1_17_to_20_all_of_a_request_is_recorded(service: DocumentedService) -> None:
    body = S0_BODY.encode()
    answer = service.gateway.http.post(
        "/api/llm/completion", content=body, headers={"x-api-token": "1", "content-type": "application/json"}
    )
    request_id = accepted(answer)["metadata"]["request_id"]
    row = service.gateway.usage_row(request_id)
    expected = {
        "request_id": answer.headers["x-request-id"],
        "soeid": "ab1234",
        "project": "risk-analysis",
        "end_user": "default_user",
        "provider": "dgen-llm",
        "endpoint": "/api/llm/completion",
        "method": "POST",
        "status_code": 200,
        "outcome": "ok",
        "model": "gpt-4",
        "prompt_tokens": 25,
        "completion_tokens": 45,
        "total_tokens": 70,
        "temperature": 0.7,
        "request_bytes": len(body),
        "response_bytes": len(answer.content),
        "client_ip": "127.0.0.1",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["created_at"][:4].isdigit()
    # Milliseconds, of which the provider takes 200.
    assert 200 <= row["upstream_latency_ms"] <= row["latency_ms"] < 15_000


def test_s0_38_s1_6_an_event_is_stored_as_it_was_sent(service: DocumentedService) -> None:
    service.shell.json(TELEMETRY)
    rows = len(service.gateway.usage_rows())
    listed = eventually(
        lambda: accepted(service.gateway.admin.get("/telemetry"))["data"],
        lambda events: any(event["request_id"] == "test-123" for event in events),
    )
    [event] = [event for event in listed if event["request_id"] == "test-123"]
    expected = {
        "event_type": "custom_event",
        "client_ip": "127.0.0.1",
        "soeid": "default_user",
        "project": "default_project",
        "target_service": "custom",
        "endpoint": "/custom",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 100.0,
        "request_bytes": 50,
        "response_bytes": 200,
    }
    assert {name: event[name] for name in expected} == expected
    assert "client_id" in json.dumps(event)
    assert len(service.gateway.usage_rows()) == rows, "events are not billed"
    service.shell.json(TELEMETRY.replace("X-API-Token: 1", "X-API-Token: 2"), 401)
    service.shell.json(TELEMETRY.replace('"custom_event"', "7"), 422)


def test_s0_35_s0_36_s0_37_system_endpoints(service: DocumentedService) -> None:
    assert service.shell.json("curl http://localhost:8001/health")["status"]
    info = service.shell.json("curl http://localhost:8001/info")
    assert set(info) >= {"service", "version", "status", "endpoints"}
    assert info["endpoints"]["completion"] == "/api/llm/completion"
    assert "dgen_secret_key" not in json.dumps(info)
    service.shell.json(COMPLETION)
    metrics = service.shell.json("curl http://localhost:8001/metrics", 200, "Accept: application/json")
    assert metrics["uptime_seconds"] > 0
    assert metrics["requests"] >= 1
    assert metrics["tokens"]["total"] == metrics["tokens"]["prompt"] + metrics["tokens"]["completion"] >= 70
    # Milliseconds, of which the provider takes 200.
    for times in (metrics["latency_ms"], metrics["llm_latency_ms"]):
        assert set(times) == {"mean", "p50", "p95", "p99"}
        assert 0 < times["p50"] <= times["p99"] < 15_000
    assert "gemini" in {row["model"] for row in metrics["models"]}
    assert "dgen-llm" in {row["provider"] for row in metrics["providers"]}
    assert "llm_proxy_requests_total" in service.shell.text("curl http://localhost:8001/metrics")
    assert "<html" in service.shell.text("curl http://localhost:8001/docs").lower()


def test_s0_28_to_30_s1_8_s1_10_a_prompt_alone_is_enough(launch: Launch, lane: Lane) -> None:
    service = DocumentedService(launch(**SETTINGS, DEFAULT_MODEL="gemini"), lane)
    answer = accepted(service.gateway.http.post("/api/llm/completion", json={"prompt": "hello"}))
    row = service.gateway.usage_row(service.completion(answer, "gemini")["request_id"])
    assert (row["end_user"], row["soeid"], row["project"]) == (
        "default_user",
        "default_user",
        "default_project",
    )
    sent = lane.chats[-1].json
    assert (sent["max_tokens"], sent["temperature"]) == (2000, 0.7)


def test_s0_10_s0_27_s1_9_without_the_setting_no_default_token_is_accepted(
    launch: Launch, lane: Lane
) -> None:
    service = DocumentedService(launch(DEBUG="true", TOKEN_SECRET="dgen_secret_key"), lane)
    before = len(lane.chats)
    refused = service.shell.json(COMPLETION, 401)
    assert set(refused) >= {"detail", "error"}
    service.shell.json(COMPLETION.replace('-H "X-API-Token: 1"', ""), 401)
    service.shell.json(TELEMETRY, 401)
    assert len(lane.chats) == before


@pytest.mark.parametrize("secret", [{}, {"TOKEN_SECRET": "dgen_secret_key"}], ids=["unset", "well_known"])
def test_s1_2_s1_12_without_a_secret_of_its_own_it_is_shut(
    launch: Launch, lane: Lane, secret: dict[str, str]
) -> None:
    service = DocumentedService(launch(**secret, ALLOW_DEFAULT_TOKEN="true"), lane)
    for command in (GENERATE, VERIFY):
        assert "TOKEN_SECRET" in json.dumps(service.shell.json(command, 503))


def test_failures_have_the_shape_of_fastapi(service: DocumentedService) -> None:
    faulty = service.shell.json(COMPLETION.replace("0.3", '"warm"'), 422)
    assert faulty["detail"][0]["loc"] == ["body", "temperature"]
    assert set(faulty["detail"][0]) == {"loc", "msg", "type"}
    unknown = service.shell.json(COMPLETION.replace('"temperature"', '"temprature"'), 422)
    assert unknown["detail"][0]["loc"] == ["body", "temprature"]
    missing = service.shell.json(COMPLETION.replace('"gemini"', '"no-such-model"'), 404)
    assert "no-such-model" in missing["detail"]
    service.lane.next.append(Script(status=400, body=error_body("The prompt is too long.")))
    assert "The prompt is too long." in service.shell.json(COMPLETION, 400)["detail"]
