"""A new key is on one page, once: neither a reload nor the way back shows it again, or makes another."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page

from tests.console.conftest import Visit
from tests.console.filling import fill, submit
from tests.console.scene import Scene
from tests.e2e.gateway_process import accepted


async def shown_key(page: Page) -> str:
    return await page.locator(".code").filter(has_text=re.compile("^Key")).locator("code").inner_text()


def prefixes(scene: Scene, name: str) -> list[str]:
    """Return what the keys of the credentials of this name begin with."""
    rows = accepted(scene.gateway.admin.get("/credentials", params={"search": name}))["data"]
    return [row["key_prefix"] for row in rows if row["name"] == name]


@pytest.mark.parametrize("verb", ["create", "rotate"])
async def test_a_new_key_is_shown_once(scene: Scene, visit: Visit, verb: str) -> None:
    visiting, name = await visit(scene), f"key to {verb}"
    page = await visiting.open("/console/credentials/new")
    await fill(page, {"name": name})
    assert await submit(page) == 200
    if verb == "rotate":
        await page.get_by_role("link", name=name).click()
        await page.get_by_role("link", name="Rotate").click()
        assert await submit(page) == 200
    key = await shown_key(page)
    answer = scene.gateway.http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert key in await page.locator("details.client").first.inner_text()
    await page.reload()
    assert await page.locator("h1").inner_text() == name
    assert key not in await page.content()
    await page.go_back()
    assert key not in await page.content()
    assert prefixes(scene, name) == [key[:8]]
