"""Requests and the configuration on a gateway of two workers: what was just sent is there, and so is every worker."""

from __future__ import annotations

import re

import pytest

from tests.console.conftest import Reader
from tests.console.scene import HOSTILE, Scene, signed_in


@pytest.fixture(scope="module")
def key(scene: Scene) -> str:
    """Return the key of a new credential, whose own budget is not used up."""
    return str(scene.create("credentials", name="of the pages of requests")["key"])


def test_what_was_just_sent_is_on_the_page(scene: Scene, key: str) -> None:
    with signed_in(scene) as client:
        for _ in range(4):
            sent = scene.chat("gpt-4o", key)
            page = client.get("/console/requests", params={"model": "gpt-4o", "limit": "1"})
            assert f'href="/console/requests/{sent}"' in page.text
            one = client.get(f"/console/requests/{sent}")
            assert one.status_code == 200
            assert "Attempt 1:" in one.text


def test_a_failed_request_shows_its_attempts_and_its_error(scene: Scene, key: str) -> None:
    sent = scene.chat("broken", key)
    with signed_in(scene) as client:
        page = client.get(f"/console/requests/{sent}").text
    assert "upstream_error" in page
    assert "the provider answered with an error" in page
    assert 'class="phase-failed"' in page


def test_a_route_is_explained_by_the_version_of_the_request(scene: Scene, key: str) -> None:
    sent = scene.chat("gpt-4o", key)
    version = scene.gateway.config_version()
    scene.create("tenants", name=f"after version {version}")
    with signed_in(scene) as client:
        then = client.get(f"/console/requests/{sent}/route").text
        now = client.get(f"/console/requests/{sent}/route", params={"by": "now"}).text
    assert "As of then" in then
    assert f"version {version}</a>" in then
    assert "Plan</h2>" in then
    assert f"routed by version {version}" in now
    assert "Plan</h2>" in now


def test_the_export_has_the_rows_of_the_filter(scene: Scene, key: str) -> None:
    sent = scene.chat("gpt-4o", key)
    with signed_in(scene) as client:
        lines = client.get("/console/requests/export", params={"request_id": sent}).text.splitlines()
    assert len(lines) == 2
    assert sent in lines[1]


def test_every_worker_has_what_was_read_again(scene: Scene) -> None:
    with signed_in(scene) as client:
        answer = client.post("/console/configuration/reload")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/console/configuration?done=reloaded",
        )
        page = client.get("/console/configuration?done=reloaded").text
    assert "The database was read" in page
    assert page.count(">Newest</span>") == 2
    assert "On an older version" not in page


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_filter_shows_what_was_typed(reader: Reader, name: str) -> None:
    page = await reader.open("/console/requests")
    await page.fill("#field-model", name)
    await page.click('form[aria-label="Filter requests"] button')
    await page.wait_for_url(re.compile("model="))
    assert await page.input_value("#field-model") == name
    assert await page.input_value("#field-credential") == ""
