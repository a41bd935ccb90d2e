"""A real gateway that starts with what the older systems documented: a file, keys, services, two endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Launch, Stores
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream
from tests.unit.flow.config.files.test_gateway_reading import DOCUMENTED

STORES = ("sqlite", "postgresql")


def providers(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    return {row["provider_key"]: row for row in accepted(gateway.admin.get("/providers"))["data"]}


def said(gateway: GatewayProcess, key: str, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello!"}]}
    return gateway.post("/v1/chat/completions", key, json=body).status_code


def restarted(gateway: GatewayProcess) -> None:
    assert gateway.stop() == 0, gateway.log()
    gateway.start()


@pytest.mark.parametrize("store", STORES)
def test_s2_4_s2_13_s2_14_the_documented_file_serves_the_documented_model(
    launch: Launch, fake: FakeUpstream, tmp_path: Path, store: str
) -> None:
    lane = fake.lane(f"documented-{store}")
    file = tmp_path / "config.yaml"
    file.write_text(DOCUMENTED.replace("https://api.openai.com/v1", lane.base_url))
    gateway = launch(store, CONFIG_FILE=file, OPENAI_API_KEY="sk-of-openai")
    key = gateway.create_credential("client")
    assert said(gateway, key, "gpt-4.1-mini") == 200
    call = lane.calls[-1]
    assert (call.json["model"], call.header("authorization")) == ("gpt-4-1106-preview", "Bearer sk-of-openai")
    # What no model names serves nothing.
    assert said(gateway, key, "unknown") == 404
    found = providers(gateway)
    assert (found["openai"]["api_key"], found["local"]["is_enabled"]) == ("env:OPENAI_API_KEY", False)
    (row,) = gateway.usage_rows(model="gpt-4.1-mini")
    # 10 and 30 USD per million tokens are 0.01 and 0.03 per thousand.
    expected = (row["prompt_tokens"] * 10 + row["completion_tokens"] * 30) / 1_000_000
    assert float(row["cost_usd"]) == pytest.approx(expected)
    log = gateway.stderr.read_text()
    assert "First start: created provider 'openai'." in log
    assert "sk-of-openai" not in log


def test_s0_26_services_are_providers(launch: Launch, fake: FakeUpstream) -> None:
    one, two = fake.lane("service-one"), fake.lane("service-two")
    one.models, two.models = ("alpha",), ("beta",)
    services = json.dumps({"one": one.base_url, "two": two.base_url})
    gateway = launch(DOWNSTREAM_SERVICES=services)
    key = gateway.create_credential("client")
    assert said(gateway, key, "alpha") == said(gateway, key, "beta") == 200
    assert set(providers(gateway)) == {"one", "two"}


@pytest.mark.parametrize("store", STORES)
def test_s3_14_four_keys_make_four_providers_and_what_is_deleted_stays_deleted(
    launch: Launch, fake: FakeUpstream, store: str
) -> None:
    lane = fake.lane(f"families-{store}")
    keys = {f"{name}_API_KEY": f"sk-{name}" for name in ("OPENAI", "GEMINI", "MISTRAL", "CLAUDE")}
    gateway = launch(store, OPENAI_BASE_URL=lane.base_url, **keys)
    found = providers(gateway)
    assert {name: row["provider_type"] for name, row in found.items()} == {
        "openai": "openai",
        "gemini": "gemini",
        "mistral": "mistral",
        "claude": "anthropic",
    }
    key = gateway.create_credential("client")
    assert said(gateway, key, "openai") == said(gateway, key, "gpt-4o-mini") == 200
    assert [call.json["model"] for call in lane.calls[-2:]] == ["gpt-4o", "gpt-4o-mini"]
    accepted(gateway.admin.patch(f"/providers/{found['claude']['id']}", json={"weight": 7}))
    assert gateway.admin.delete(f"/providers/{found['mistral']['id']}").is_success
    restarted(gateway)
    found = providers(gateway)
    assert (set(found), found["claude"]["weight"]) == ({"openai", "gemini", "claude"}, 7)


def test_s1_14_s1_15_s1_16_the_secondary_takes_over(launch: Launch, fake: FakeUpstream) -> None:
    second = fake.lane("secondary")
    gateway = launch(
        # Nothing listens there.
        API_ENDPOINT="http://127.0.0.1:9/v1",
        MODEL="large",
        SURL=second.base_url,
        SKEY="sk-second",
        SMODEL="small",
        DEFAULT_MODEL="gemini",
    )
    key = gateway.create_credential("client")
    assert said(gateway, key, "gemini") == 200
    call = second.calls[-1]
    assert (call.json["model"], call.header("authorization")) == ("small", "Bearer sk-second")


def test_s3_18_keys_may_stand_in_a_file_of_variables(
    launch: Launch, fake: FakeUpstream, tmp_path: Path
) -> None:
    lane = fake.lane("dotenv")
    gateway = GatewayProcess(tmp_path / "gateway", OPENAI_BASE_URL=lane.base_url)
    (gateway.folder / ".env").write_text('OPENAI_API_KEY="sk-of-the-file"\n')
    try:
        gateway.start()
        key = gateway.create_credential("client")
        assert said(gateway, key, "openai") == 200
        assert lane.calls[-1].header("authorization") == "Bearer sk-of-the-file"
    finally:
        gateway.close()


def test_two_gateways_that_start_at_once_fill_one_database_once(stores: Stores, tmp_path: Path) -> None:
    settings: dict[str, Any] = stores.settings("postgresql")
    settings |= {"OPENAI_API_KEY": "sk", "DOWNSTREAM_SERVICES": '{"llm": "http://llm.example"}'}
    pair = [GatewayProcess(tmp_path / name, **settings) for name in ("one", "two")]
    try:
        for gateway in pair:
            gateway.launch()
        for gateway in pair:
            eventually(gateway.is_ready, bool, 30)
        assert [set(providers(gateway)) for gateway in pair] == [{"openai", "llm"}] * 2
        logs = [gateway.stderr.read_text() for gateway in pair]
        assert sum("the catalog is filled from the environment" in log for log in logs) == 1
        assert [gateway.stop() for gateway in pair] == [0, 0]
    finally:
        for gateway in pair:
            gateway.close()


def test_a_wrong_file_ends_the_start(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(DOCUMENTED.replace("0.01", "1e400"))
    gateway = GatewayProcess(tmp_path / "gateway", CONFIG_FILE=file)
    try:
        gateway.launch()
        assert gateway.wait() == 2
        line = f"CONFIG_FILE={file}, line 13: models.gpt-4.1-mini.cost_per_1k_prompt must be a number"
        assert line in gateway.stderr.read_text()
    finally:
        gateway.close()
