"""Fills and sends forms as a person does, and reads what stands beside a field."""

from __future__ import annotations

from collections.abc import Mapping

from playwright.async_api import Locator, Page

FORM = "main form[method=post].form"


def field_of(page: Page, name: str) -> Locator:
    """Return the control with that name."""
    return page.locator(f'{FORM} [name="{name}"]')


async def fill(page: Page, texts: Mapping[str, str]) -> None:
    """Type, choose or tick; a group that is folded is opened first."""
    for name, text in texts.items():
        control = field_of(page, name)
        if not await control.is_visible():
            await control.locator("xpath=ancestor::details[1]").locator("summary").click()
        if await control.evaluate("(element) => element.tagName") == "SELECT":
            await control.select_option(text)
        elif await control.get_attribute("type") == "checkbox":
            await control.set_checked(bool(text))
        else:
            await control.fill(text)


async def submit(page: Page) -> int:
    """Send the form of the page, and return the status of the page that comes of it."""
    async with page.expect_navigation() as navigation:
        await page.locator(f"{FORM} button[type=submit]").first.click()
    response = await navigation.value
    assert response is not None
    return response.status


async def said_beside(page: Page, name: str) -> str:
    """Return what a field is described by, as a screen reader reads it; the field says that it is wrong."""
    control = field_of(page, name)
    assert await control.get_attribute("aria-invalid") == "true"
    described = await control.get_attribute("aria-describedby") or ""
    texts = [await page.locator(f'[id="{place}"]').inner_text() for place in described.split()]
    assert await control.is_visible(), "a field that is wrong is folded away"
    return " ".join(texts)
