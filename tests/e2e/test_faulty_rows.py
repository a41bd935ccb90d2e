"""One bad row takes nothing else down: at a start, on a reload, for admins; and it is named everywhere."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import STORES, Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.sql import run_sql
from tests.fakes.upstream import FakeUpstream

BREAKS = {
    "variable": "UPDATE providers SET secret = 'env:NOT_SET_ANYWHERE' WHERE provider_key = '{key}'",
    "base": "UPDATE providers SET api_base = 'nonsense' WHERE provider_key = '{key}'",
    "kind": "UPDATE providers SET provider_type = 'nonsense' WHERE provider_key = '{key}'",
    "secret": "UPDATE providers SET secret = 'sealed:1:0000:AAAA' WHERE provider_key = '{key}'",
    "mapping": "UPDATE providers SET model_mapping = '7' WHERE provider_key = '{key}'",
}


def forget_everything_saved(gateway: GatewayProcess) -> None:
    for path in Path(gateway.settings["DATA_DIR"]).glob("databases/*/last_good_catalog"):
        path.unlink()


def named(gateway: GatewayProcess, key: str) -> None:
    """Check that every place which tells of the configuration names the provider `key`."""
    ready = gateway.http.get("/health/ready")
    assert ready.status_code == 200
    places: dict[str, Any] = {
        "readiness": ready.json()["faults"],
        "version": accepted(gateway.admin.get("/config/version"))["refused"]["faults"],
        "details": accepted(gateway.http.get("/health/detailed"))["config"]["faults"],
        "log": [line for line in gateway.stderr.read_text().splitlines() if "faulty row" in line],
    }
    for place, told in places.items():
        assert any(f"provider '{key}'" in line for line in told), place
    assert accepted(gateway.admin.get(f"/providers/{key}"))["faults"]
    assert gateway.metrics("llm_gateway_config_refused") == 1
    assert gateway.metrics("llm_gateway_config_faulty_rows") == 1


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("store", STORES)
def test_a_start_without_a_saved_copy_serves_the_rest(
    launch: Launch, fake: FakeUpstream, store: str, how: str
) -> None:
    gateway = launch(store)
    bad, good = Desk(gateway, fake), Desk(gateway, fake)
    broken = bad.provider("bad")
    good.provider("good")
    assert bad.chat().status_code == good.chat().status_code == 200
    assert gateway.stop() == 0
    run_sql(gateway, BREAKS[how].format(key=broken.name))
    forget_everything_saved(gateway)
    gateway.start()
    assert good.chat().status_code == 200
    named(gateway, broken.name)
    answer = bad.chat()
    if how in {"kind", "mapping"}:
        assert answer.status_code == 404
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_misconfigured")
    if how != "mapping":
        explained = accepted(gateway.admin.post("/route/explain", json={"model": bad.model}))
        reasons = {
            one["reason"] for one in explained["routes"][0]["left_out"] if one["provider"] == broken.name
        }
        assert reasons == (set() if how == "kind" else {"faulty"})
    # Other rows can be edited, keys be disabled, and the row be repaired.
    key = good.credential()
    accepted(gateway.admin.patch(f"/credentials/{_newest(gateway)}", json={"is_enabled": False}))
    assert gateway.post("/v1/chat/completions", key, json=good.body()).status_code == 401
    repaired = {
        "api_base": broken.base_url,
        "api_key": "sk-upstream-secret",
        "provider_type": "openai",
        "model_mapping": {bad.model: bad.upstream_model},
    }
    accepted(gateway.admin.patch(f"/providers/{broken.name}", json=repaired))
    assert bad.chat().status_code == 200
    assert gateway.http.get("/health/ready").json() == {"status": "ready"}
    assert gateway.metrics("llm_gateway_config_faulty_rows") == 0
    assert gateway.stop() == 0
    assert gateway.distress() == []


def _newest(gateway: GatewayProcess) -> int:
    return int(accepted(gateway.admin.get("/credentials"))["data"][-1]["id"])


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("store", STORES)
def test_a_provider_that_breaks_goes_on_as_it_was_and_all_else_is_applied(
    launch: Launch, fake: FakeUpstream, store: str, restarted: bool
) -> None:
    gateway = launch(store, WORKERS=2 if store == "postgresql" else 1)
    desk = Desk(gateway, fake)
    lane = desk.provider()
    assert desk.chat().status_code == 200
    leaked = desk.credential()
    if restarted:
        assert gateway.stop() == 0
    run_sql(gateway, BREAKS["base"].format(key=lane.name))
    run_sql(gateway, f"UPDATE credentials SET is_enabled = false WHERE name LIKE 'desk-{desk.number}%'")
    if restarted:
        gateway.start()
    answer = gateway.admin.post("/config/reload")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "config_refused")
    assert f"provider '{lane.name}': api_base" in answer.json()["error"]["message"]
    for _ in range(10):
        assert gateway.post("/v1/chat/completions", leaked, json=desk.body()).status_code == 401
        assert desk.chat().status_code == 200
    named(gateway, lane.name)
    # Without the database too, the disabled key stays disabled and the provider as it was.
    saved = eventually(
        lambda: [
            path.read_text() for path in Path(gateway.settings["DATA_DIR"]).glob("databases/*/last_good*")
        ],
        lambda found: len(found) == 1,
    )
    assert "nonsense" not in saved[0]
    assert gateway.stop() == 0
    assert gateway.distress() == []


@pytest.mark.parametrize(
    "column",
    [
        "rate_limit = 'many'",
        "is_enabled = 'perhaps'",
        "allowed_models = '7'",
        "cache = '7'",
        "key_hash = 'text'",
    ],
)
def test_a_broken_credential_never_fails_open(launch: Launch, fake: FakeUpstream, column: str) -> None:
    gateway = launch(ALLOW_ANONYMOUS="true")
    desk = Desk(gateway, fake)
    desk.provider()
    assert gateway.post("/v1/chat/completions", None, json=desk.body()).status_code == 200
    key = desk.key
    assert desk.chat().status_code == 200
    database = Path(gateway.settings["DATA_DIR"]) / "llm-gateway.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE credentials SET {column}")
    assert gateway.admin.post("/config/reload").status_code == 422
    for restarted in (False, True):
        if restarted:
            gateway.stop()
            gateway.start()
        for presented in (key, None, "sk-unknown"):
            answer = gateway.post("/v1/chat/completions", presented, json=desk.body())
            assert answer.status_code == 401, (restarted, presented)
        assert accepted(gateway.admin.get("/credentials"))["data"][0]["faults"]
