"""The console behind a proxy that serves the gateway below /gw, and passes that prefix on or takes it away."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.console import addresses
from tests.console.browsing import links
from tests.console.conftest import PREFIX, Reader, Visit
from tests.console.path_prefix import PathPrefixProxy
from tests.console.scene import Scene
from tests.e2e.gateway_process import ADMIN_KEY


@pytest.mark.parametrize("path", addresses.of_signed_in(addresses.pages()))
async def test_a_page_stays_below_the_prefix(
    prefixed_scene: Scene, prefixed_reader: Reader, path: str
) -> None:
    page = await prefixed_reader.open(addresses.fill(path, prefixed_scene.places))
    found = await links(page)
    assert found
    assert [address for address in found if not address.startswith((f"{PREFIX}/", "?"))] == []


async def test_signing_in_leads_to_the_page_that_was_asked_for(proxy: PathPrefixProxy, visit: Visit) -> None:
    visiting = await visit(proxy.origin, key=None, prefix=PREFIX)
    page = await visiting.open("/console/tenants?search=a")
    assert urlsplit(page.url).path == f"{PREFIX}/console/sign-in"
    await page.fill("#key", ADMIN_KEY)
    await page.click("main button[type=submit]")
    await page.wait_for_url(f"**{PREFIX}/console/tenants?search=a")
    await page.click("text=Sign out")
    await page.wait_for_url(f"**{PREFIX}/console/sign-in")


async def test_a_form_leads_back_below_the_prefix(proxy: PathPrefixProxy, visit: Visit) -> None:
    visiting = await visit(proxy.origin, prefix=PREFIX)
    page = await visiting.open("/console/tenants/new")
    name = f"made by {proxy.origin}"
    await page.fill("[name=name]", name)
    await page.click("main button[type=submit]")
    await page.wait_for_url(f"**{PREFIX}/console/tenants?done=created")
    assert await page.get_by_role("link", name=name).count() == 1


async def test_the_root_leads_to_the_console(proxy: PathPrefixProxy, visit: Visit) -> None:
    visiting = await visit(proxy.origin, prefix=PREFIX)
    for path in ("/", "/console"):
        page = await visiting.open(path)
        assert urlsplit(page.url).path.startswith(f"{PREFIX}/console/")
        await page.close()


def test_the_gateway_answers_with_and_without_the_prefix(prefixed_scene: Scene) -> None:
    http = prefixed_scene.gateway.http
    for path in ("/health", "/console/sign-in"):
        assert http.get(path).status_code == http.get(f"{PREFIX}{path}").status_code == 200
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    answer = prefixed_scene.gateway.post(f"{PREFIX}/v1/chat/completions", prefixed_scene.key, json=body)
    assert answer.status_code == 200
    assert http.get(f"{PREFIX}x/health").status_code == 404
