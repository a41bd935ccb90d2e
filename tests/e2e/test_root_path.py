"""The whole gateway below a path prefix, behind proxies that strip it and behind those that do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted, accepted_text
from tests.fakes.upstream import FakeUpstream

ROOT = "/gw"
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory, fake: FakeUpstream) -> Iterator[Desk]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("below"), ROOT_PATH=ROOT, CORS_ORIGINS=ORIGIN)
    try:
        desk = Desk(gateway.start(), fake)
        desk.provider()
        yield desk
        assert gateway.stop() == 0, gateway.log()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


def sdk(desk: Desk, prefix: str) -> openai.OpenAI:
    return desk.sdk.with_options(base_url=f"{desk.gateway.origin}{prefix}/v1")


@pytest.mark.parametrize("prefix", [ROOT, ""])
def test_an_sdk_asks_with_and_without_the_prefix(below: Desk, prefix: str) -> None:
    client = sdk(below, prefix)
    # On one connection, with heads that repeat.
    for _ in range(4):
        whole = client.chat.completions.create(**below.body())
        assert whole.choices[0].message.content
        stream = client.chat.completions.create(**below.body(stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert below.model in [model.id for model in client.models.list()]
    rows = below.gateway.usage_rows(limit=8)
    assert {row["endpoint"] for row in rows} == {"/v1/chat/completions"}


def get(desk: Desk, path: str, **headers: str) -> httpx.Response:
    return desk.gateway.http.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics", "/docs", "/openapi.json"])
def test_everything_is_there_in_both_places(below: Desk, path: str) -> None:
    for prefix in (ROOT, ""):
        assert get(below, prefix + path).status_code == 200
    assert below.gateway.http.head(f"{ROOT}/health").status_code == 200


@pytest.mark.parametrize("path", [f"{ROOT}/", ROOT, "/", f"{ROOT}/console", f"{ROOT}/console/", "/console/"])
def test_the_root_leads_to_the_console(below: Desk, path: str) -> None:
    answer = get(below, path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/console/sign-in")


@pytest.mark.parametrize("prefix", [ROOT, ""])
def test_the_documentation_finds_its_parts_below_the_prefix(below: Desk, prefix: str) -> None:
    page = accepted_text(get(below, f"{prefix}/docs"))
    links = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)["']""", page)
    assert len(links) == 4
    for link in links:
        assert link.startswith(f"{ROOT}/"), page
        assert get(below, link).status_code == 200
    document = accepted(get(below, f"{prefix}/openapi.json"))
    assert document["servers"] == [{"url": ROOT}]
    assert "/v1/chat/completions" in document["paths"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gw/admin/v1/providers", 401),
        ("/gw/%61dmin/v1/providers", 401),
        ("/%67w/admin/v1/providers/", 401),
        ("/admin/v1/providers", 401),
        ("/gw/gw/admin/v1/providers", 404),
        ("/gw/%67w/admin/v1/providers", 404),
        ("/gw/gw/gw/admin/v1/providers", 404),
        ("/gwx/admin/v1/providers", 404),
        ("/gw/gw/docs", 404),
    ],
)
def test_the_prefix_leads_past_no_guard(below: Desk, path: str, status: int) -> None:
    answer = get(below, path)
    assert (answer.status_code, "data" in answer.json()) == (status, False)
    key = {"authorization": f"Bearer {ADMIN_KEY}"}
    assert get(below, path, **key).status_code == (200 if status == 401 else 404)


def test_browsers_are_answered_below_the_prefix(below: Desk) -> None:
    asks: dict[str, Any] = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = below.gateway.http.options(f"{ROOT}/v1/chat/completions", headers=asks)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)


@pytest.mark.parametrize("root_path", ["/v1", "/admin", "/console", "/health/x"])
def test_a_prefix_that_is_the_gateways_own_stops_the_start(launch: Launch, root_path: str) -> None:
    with pytest.raises(AssertionError, match=f"ROOT_PATH is {root_path}, and the gateway itself serves"):
        launch(ROOT_PATH=root_path)
