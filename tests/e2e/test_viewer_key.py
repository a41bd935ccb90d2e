"""VIEWER_KEY: who has it may read what the admin API shows, and change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.upstream import FakeUpstream

VIEWER_KEY = "the-key-of-those-who-only-read"
SECRET = "sk-secret-of-the-provider-0001"
LISTS = (
    *("providers", "models", "task-types", "credentials", "tenants", "projects", "budgets", "prices"),
    *("usage", "usage/summary", "usage/export", "telemetry", "config/version", "log-level"),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Desk]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("viewed"), VIEWER_KEY=VIEWER_KEY)
    try:
        yield Desk(gateway.start(), fake)
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
        for key in (VIEWER_KEY, ADMIN_KEY, SECRET):
            assert key not in gateway.log()
    finally:
        gateway.close()


def ask(desk: Desk, method: str, path: str, key: str = VIEWER_KEY, **more: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return desk.gateway.http.request(method, path, headers=headers, **more)  # type: ignore[arg-type]


def test_a_viewer_reads_everything_but_secrets(desk: Desk) -> None:
    provider = desk.provider(api_key=SECRET).name
    key = desk.credential()
    assert desk.gateway.post("/v1/chat/completions", key, json=desk.body()).status_code == 200
    paths = [f"/admin/v1/{name}" for name in LISTS]
    paths += [f"/admin/v1/providers/{provider}", f"/admin/v1/providers/{provider}/models"]
    for path in paths:
        answer = ask(desk, "GET", path)
        assert answer.status_code == 200, (path, answer.text)
        for secret in (SECRET, key, ADMIN_KEY, VIEWER_KEY):
            assert secret not in answer.text
        assert ask(desk, "HEAD", path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/admin/v1/providers"),
        ("POST", "/admin/v1/providers?dry_run=true"),
        ("PATCH", "/admin/v1/providers/1"),
        ("PUT", "/admin/v1/log-level"),
        ("DELETE", "/admin/v1/credentials/1"),
        ("POST", "/admin/v1/config/reload"),
        ("POST", "/admin/v1/route/explain"),
        ("POST", "/admin/v1/nowhere"),
    ],
)
def test_a_viewer_changes_nothing(desk: Desk, method: str, path: str) -> None:
    before = desk.gateway.config_version()
    answer = ask(desk, method, path, json={"name": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only_key")
    assert answer.json()["error"]["message"] == (
        f"This key may only read (GET and HEAD): {method} needs the admin key (ADMIN_KEY), dry runs too."
    )
    assert desk.gateway.config_version() == before


def test_the_viewer_key_is_no_clients_key(desk: Desk) -> None:
    assert ask(desk, "GET", "/v1/models").status_code == 401
    answer = desk.gateway.admin.post("/credentials", json={"name": "mine", "key": VIEWER_KEY})
    assert answer.status_code == 422
    assert VIEWER_KEY not in answer.text
    fields = {"provider_key": "thief", "provider_type": "openai", "api_key": "env:VIEWER_KEY"}
    stolen = desk.gateway.admin.post("/providers", json=fields)
    assert (stolen.status_code, "VIEWER_KEY is a setting of the gateway" in stolen.text) == (422, True)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (ADMIN_KEY, "VIEWER_KEY and ADMIN_KEY are the same"),
        ("sealing", "VIEWER_KEY is also in SECRET_KEY"),
    ],
)
def test_a_viewer_key_that_opens_more_stops_the_start(launch: Launch, key: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        launch(VIEWER_KEY=key, SECRET_KEY="sealing")
    assert ADMIN_KEY not in str(caught.value)


def test_a_short_viewer_key_is_warned_of(launch: Launch) -> None:
    gateway = launch(VIEWER_KEY="fifteen-letters")
    assert gateway.log().count("VIEWER_KEY has fewer than 16 characters") == 1
    assert "fifteen-letters" not in gateway.log()
