"""The console by keyboard alone."""

from __future__ import annotations

from playwright.async_api import Page

from tests.console.conftest import Visit
from tests.console.scene import Scene

_MOST_STEPS = 60


async def focused(page: Page) -> str:
    """Return the name, the address or the text of what has the focus."""
    name: str = await page.evaluate(
        """() => {
          const element = document.activeElement;
          return element.getAttribute("name") || element.getAttribute("href") || element.innerText;
        }"""
    )
    return name


async def test_the_first_stop_skips_the_menu(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open("/console/tenants")
    await page.keyboard.press("Tab")
    assert await focused(page) == "#main"
    skip = page.get_by_role("link", name="Skip to the content")
    box = await skip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("() => document.activeElement.closest('main') !== null")


async def test_a_form_is_filled_and_sent(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open("/console/tenants/new")
    seen = []
    for _ in range(_MOST_STEPS):
        await page.keyboard.press("Tab")
        seen.append(await focused(page))
        if seen[-1] == "name":
            break
    assert seen[-1] == "name", seen
    await page.keyboard.type("typed by keyboard")
    await page.keyboard.press("Tab")
    assert await focused(page) == "is_enabled"
    await page.keyboard.press("Space")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/tenants?done=created")
    row = page.get_by_role("row", name="typed by keyboard")
    assert "Disabled" in await row.inner_text()


async def test_the_menu_of_a_narrow_window_opens(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene, width=360)
    page = await visiting.open("/console/tenants")
    link = page.get_by_role("navigation", name="Console").get_by_role("link", name="Sessions")
    assert not await link.is_visible()
    await page.locator(".menu > summary").focus()
    await page.keyboard.press("Enter")
    assert await link.is_visible()
    await link.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/sessions")
