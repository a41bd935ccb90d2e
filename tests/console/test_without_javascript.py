"""Without JavaScript every page can be read, and forms work."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tests.console import addresses
from tests.console.browsing import NARROW
from tests.console.conftest import Visit
from tests.console.filling import fill, submit
from tests.console.scene import Scene
from tests.e2e.gateway_process import ADMIN_KEY


async def test_every_page_can_be_read(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, java_script_enabled=False, width=NARROW)
    page = await visiting.open("/console/tenants")
    for path in addresses.of_signed_in(addresses.pages()):
        await visiting.go(page, addresses.fill(path, scene.places))
        assert len(await page.locator("main").inner_text()) > 60, path
        assert await page.get_by_role("navigation", name="Console").get_by_role("link").count() > 5
        # Times are written out, with their zone.
        for time in await page.locator("main time").all_inner_texts():
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", time), path


async def test_signing_in_and_forms_work(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, key=None, java_script_enabled=False)
    page = await visiting.open("/console/tenants/new")
    await page.fill("#key", ADMIN_KEY)
    await page.click("main button[type=submit]")
    assert urlsplit(page.url).path == "/console/tenants/new"
    await fill(page, {"name": "made without scripts", "limits.requests_per_day": "5"})
    assert await submit(page) == 200
    assert await page.get_by_role("link", name="made without scripts").count() == 1
