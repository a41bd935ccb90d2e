"""The forms of every resource: create, change, delete, refuse, and notice that someone else was faster."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import pytest
from playwright.async_api import Page

from tests.console import addresses
from tests.console.browsing import strangers
from tests.console.conftest import Visit
from tests.console.filling import field_of, fill, said_beside, submit
from tests.console.samples import SAMPLES
from tests.console.scene import Scene

_NOUNS = [
    path.removesuffix("/new").rpartition("/")[2] for path in addresses.writes() if path.endswith("/new")
]
_numbers = itertools.count(1)


def named(texts: Mapping[str, str], name: str) -> dict[str, str]:
    return {field: text.replace("{name}", name) for field, text in texts.items()}


def fresh_name(noun: str) -> str:
    return f"{noun} & <b>{next(_numbers)}"


async def created(page: Page, noun: str) -> str:
    """Fill and send the form of a new row, go on to its page, and return its name."""
    name = fresh_name(noun)
    await fill(page, named(SAMPLES[noun].fields, name))
    assert await submit(page) == 200, await page.inner_text("main")
    return name


async def open_row(page: Page, origin: str, noun: str, name: str) -> None:
    await page.goto(f"{origin}/console/{noun}")
    await page.get_by_role("searchbox").fill(name)
    await page.get_by_role("searchbox").press("Enter")
    await page.get_by_role("link", name=name, exact=True).first.click()
    await page.wait_for_url(re.compile(rf"/console/{noun}/\d+$"))


@pytest.mark.parametrize("noun", _NOUNS)
async def test_a_row_is_created_changed_and_deleted(scene: Scene, visit: Visit, noun: str) -> None:
    visiting = await visit(scene)
    page = await visiting.open(f"/console/{noun}")
    await page.locator("main .actions").get_by_role("link", name=re.compile("^New ")).click()
    name = await created(page, noun)
    await open_row(page, scene.origin, noun, name)
    field, text = SAMPLES[noun].change
    text = text.replace("{name}", name)
    await fill(page, {field: text})
    assert await submit(page) == 200
    assert re.search(rf"/console/{noun}(\?|/\d+$|\?done=changed)", page.url)
    await open_row(page, scene.origin, noun, name)
    assert (await field_of(page, field).input_value()).split() == text.split()
    address = page.url
    await page.locator("main .actions").get_by_role("link", name="Delete").click()
    assert name in await page.inner_text("h1")
    # Nothing is lost before the second button.
    assert (await visiting.get(address.removeprefix(scene.origin))).status == 200
    await page.locator("main form").get_by_role("button", name="Delete").click()
    await page.wait_for_url(f"**/console/{noun}?done=deleted")
    assert (await visiting.get(address.removeprefix(scene.origin))).status == 404
    assert await page.get_by_role("status").first.is_visible()


@pytest.mark.parametrize("noun", _NOUNS)
async def test_what_is_wrong_stands_beside_its_field(scene: Scene, visit: Visit, noun: str) -> None:
    visiting = await visit(scene)
    visiting.faults.expect_status(422)
    page = await visiting.open(f"/console/{noun}/new")
    name = fresh_name(noun)
    sample = SAMPLES[noun]
    field, text, said = sample.wrong
    text = text.replace("{name}", name)
    await fill(page, named(sample.fields, name) | {field: text})
    assert await submit(page) == 422
    assert said in await said_beside(page, field)
    # What was typed is still there, except secrets.
    for other, typed in (named(sample.fields, name) | {field: text}).items():
        control = field_of(page, other)
        expected = "" if await control.get_attribute("type") == "password" else typed
        assert (await control.input_value()).strip() == expected
    assert "sk-not-to-be-shown" not in await page.content()


@pytest.mark.parametrize("noun", _NOUNS)
async def test_a_change_by_someone_else_is_noticed(scene: Scene, visit: Visit, noun: str) -> None:
    first, second = await visit(scene), await visit(scene)
    second.faults.expect_status(409)
    page = await first.open(f"/console/{noun}/new")
    name = await created(page, noun)
    await open_row(page, scene.origin, noun, name)
    later = await second.open(page.url.removeprefix(scene.origin))
    field, text = SAMPLES[noun].change
    for window, status in ((page, 200), (later, 409)):
        await fill(window, {field: text.replace("{name}", name)})
        assert await submit(window) == status
    assert "This was changed since the page was opened" in await later.get_by_role("alert").inner_text()
    # A second look at what is there now, and it can be sent.
    assert await submit(later) == 200


async def test_a_new_key_is_shown_once_and_opens_the_gateway(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open("/console/credentials/new")
    name = await created(page, "credentials")
    assert name in await page.inner_text("h1")
    key = await page.locator(".code code").first.inner_text()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    assert scene.gateway.post("/v1/chat/completions", key, json=body).status_code == 200
    await open_row(page, scene.origin, "credentials", name)
    assert key not in await page.content()
    # Going back asks the gateway again, or shows what the browser holds; it does not make another key.
    count = len(scene.gateway.admin.get("/credentials?limit=200").json()["data"])
    await page.go_back()
    await page.go_forward()
    assert len(scene.gateway.admin.get("/credentials?limit=200").json()["data"]) == count


async def test_a_provider_is_tested(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open(f"/console/providers/{scene.places['providers']}")
    async with page.expect_navigation():
        await page.locator("#test").get_by_role("button").first.click()
    result = page.locator("#test")
    assert "It works" in await result.inner_text()
    assert "sk-upstream-secret" not in await page.content()


async def test_a_provider_that_fails_says_why_as_it_was_said(scene: Scene, visit: Visit) -> None:
    failing = next(
        one
        for one in scene.gateway.admin.get("/providers").json()["data"]
        if one["provider_key"] == "failing"
    )
    visiting = await visit(scene)
    page = await visiting.open(f"/console/providers/{failing['id']}")
    async with page.expect_navigation():
        await page.locator("#test").get_by_role("button").first.click()
    assert "500" in await page.locator("#test").inner_text()
    assert await strangers(page) == []
