"""A viewer sees every page and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.console import addresses
from tests.console.conftest import Visit
from tests.console.markup import Markup
from tests.console.scene import VIEWER_KEY, Scene, signed_in

# What a viewer may send: it changes nothing but the viewer's own session.
_ALLOWED = {"/console/sign-in", "/console/sign-out"}
_FOR_WRITING = addresses.for_writing()


@pytest.fixture(scope="module")
def viewer(scene: Scene) -> Iterator[httpx.Client]:
    with signed_in(scene, VIEWER_KEY) as client:
        yield client


@pytest.mark.parametrize("path", [path for path in addresses.writes() if path not in _ALLOWED])
def test_a_viewer_cannot_send(scene: Scene, viewer: httpx.Client, path: str) -> None:
    before = scene.gateway.config_version()
    response = viewer.post(addresses.fill(path, scene.places), data={"name": "changed"})
    assert response.status_code == 403
    assert "viewer key cannot change" in response.text
    assert scene.gateway.config_version() == before


@pytest.mark.parametrize("path", addresses.of_signed_in(addresses.pages()))
def test_a_viewer_sees_pages_and_is_offered_no_change(scene: Scene, viewer: httpx.Client, path: str) -> None:
    response = viewer.get(addresses.fill(path, scene.places))
    if path in _FOR_WRITING:
        assert response.status_code in {200, 403}
        return
    assert response.status_code == 200
    markup = Markup(response.text)
    assert markup.forms() == ["/console/sign-out"]
    refused = {addresses.fill(one, scene.places) for one in _FOR_WRITING}
    assert {urlsplit(link).path for link in markup.links()} & refused == set()


async def test_a_viewer_is_told_so(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, VIEWER_KEY)
    page = await visiting.open("/console/tenants")
    assert await page.get_by_text("Viewer", exact=True).count() == 1
    assert await page.get_by_role("link", name="New tenant").count() == 0


def test_the_viewer_key_reads_the_admin_api_alone(scene: Scene) -> None:
    headers = {"authorization": f"Bearer {VIEWER_KEY}"}
    http = scene.gateway.http
    assert http.get("/admin/v1/tenants", headers=headers).status_code == 200
    assert http.post("/admin/v1/tenants", headers=headers, json={"name": "no"}).status_code == 403
