"""The log of a running gateway: as JSON, at a level that changes while it runs, and never with a secret in it."""

from __future__ import annotations

import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream

SECRETS = {
    "ADMIN_KEY": "recognisable-admin-key-0001",
    "SECRET_KEY": "recognisable-secret-key-0002",
    "OPS_TOKEN": "recognisable-ops-token-0003",
    "LLM_PROXY_SECRET": "recognisable-agents-secret-0004",
    "TOKEN_SECRET": "recognisable-token-secret-0005",
}
CLIENT_KEY, UPSTREAM_KEY = "recognisable-client-key-0006", "recognisable-upstream-key-0007"
PROMPT = "recognisable-prompt-0008"
ECHO = json.dumps({"error": {"message": f"Bad key {UPSTREAM_KEY}", "type": "x", "code": None, "param": None}})


def messages(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.stderr.read_text().splitlines()]


def test_every_line_is_json(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(LOG_FORMAT="json", WORKERS=2, DEBUG="true")
    desk = Desk(gateway, fake)
    desk.failing(error_script(500))
    request_id = desk.chat().headers["x-request-id"]
    assert gateway.stop() == 0
    lines = messages(gateway)
    assert {"time", "level", "process", "message", "source"} == set.intersection(
        *(set(line) for line in lines)
    )
    assert len({line["process"] for line in lines}) > 1
    [failed] = [line for line in lines if "failed for model" in line["message"]]
    assert (failed["level"], failed["request_id"]) == ("warning", request_id)
    # Every message that names a request carries its id, too.
    assert all(line["request_id"] == request_id for line in lines if request_id in line["message"])
    access = gateway.access_line(request_id)
    assert access["status_code"] == 502


def change_level(gateway: GatewayProcess, level: str | None) -> dict[str, Any]:
    return accepted(gateway.admin.put("/log-level", json={"level": level}))


def reload_is_logged(gateway: GatewayProcess) -> bool:
    """Tell whether a new version of the configuration is logged, which is an information, by every worker."""
    accepted(gateway.admin.post("/tenants", json={"name": f"tenant-{gateway.config_version()}"}))
    text = f"version {gateway.config_version()} is in force"
    return gateway.stderr.read_text().count(text) == int(gateway.settings["WORKERS"])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_level_changes_in_every_worker(launch: Launch, workers: int) -> None:
    gateway = launch(WORKERS=workers, LOG_LEVEL="error")
    assert not reload_is_logged(gateway)
    assert change_level(gateway, "info") == {"level": "info", "default": "error"}
    eventually(lambda: reload_is_logged(gateway), bool)
    assert gateway.stderr.read_text().count("The log level is info; it was error.") == workers
    assert change_level(gateway, None)["level"] == "error"
    eventually(lambda: gateway.stderr.read_text().count("The log level is error"), lambda n: n == workers)
    assert not reload_is_logged(gateway)
    # Gone with a restart.
    change_level(gateway, "debug")
    assert gateway.stop() == 0
    gateway.start()
    assert accepted(gateway.admin.get("/log-level")) == {"level": "error", "default": "error"}


def test_a_worker_that_is_restarted_logs_at_the_level_of_the_others(launch: Launch) -> None:
    gateway = launch(WORKERS=2, LOG_LEVEL="error")
    change_level(gateway, "info")
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
    first = children.read_text().split()
    os.kill(int(first[0]), signal.SIGKILL)
    eventually(
        lambda: children.read_text().split(), lambda now: len(now) == 2 and not set(now) <= set(first), 15
    )
    eventually(lambda: reload_is_logged(gateway), bool)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("debug", ["false", "true"])
def test_no_secret_is_logged_at_any_level(launch: Launch, fake: FakeUpstream, form: str, debug: str) -> None:
    gateway = launch(LOG_FORMAT=form, LOG_LEVEL="trace", DEBUG=debug, **SECRETS)
    gateway.shared_key = gateway.create_credential("everybody", key=CLIENT_KEY)
    desk = Desk(gateway, fake)
    plans = (
        Script(), error_script(401), error_script(500), error_script(429), Script(fault="reset", fault_at=0),
        Script(status=400, body=ECHO.encode()), Script(status=401, body=ECHO.encode()), Script(body=b"nonsense"),
        Script(fault="fin"), Script(fault="reset", fault_at=2),
    )  # fmt: skip
    for number, plan in enumerate(plans):
        one = Desk(gateway, fake)
        one.failing(plan, f"plan-{number}", api_key=UPSTREAM_KEY)
        for stream in (False, True):
            one.gateway.post(
                "/v1/chat/completions",
                CLIENT_KEY,
                json=one.body(messages=[{"role": "user", "content": PROMPT}], stream=stream),
            )
    away = f"http://someone:{UPSTREAM_KEY}@127.0.0.1:9/v1"
    gateway.admin.post(
        "/providers", json={"provider_key": "away", "provider_type": "openai", "api_base": away}
    )
    for provider in accepted(gateway.admin.get("/providers"))["data"]:
        gateway.admin.post(f"/providers/{provider['id']}/test", json={})
    gateway.post("/v1/chat/completions", f"{CLIENT_KEY}-wrong", json=desk.body())
    gateway.http.get("/metrics", headers={"authorization": f"Bearer {SECRETS['OPS_TOKEN']}-wrong"})
    gateway.http.get("/v1/models", headers={"authorization": f"Basic {base64.b64encode(b'a:b').decode()}"})
    gateway.post("/internal/llm/proxy", SECRETS["LLM_PROXY_SECRET"], json={})
    assert gateway.stop() == 0
    output = gateway.stderr.read_text() + gateway.stdout.read_text()
    assert "failed for model" in output
    assert "plan-1" in output
    for secret in (*SECRETS.values(), CLIENT_KEY, UPSTREAM_KEY, PROMPT, "someone:"):
        assert secret not in output
