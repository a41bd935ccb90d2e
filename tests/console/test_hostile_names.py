"""Names and texts from outside are shown as they were written, and never run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.console import addresses
from tests.console.browsing import strangers
from tests.console.conftest import Reader, Visit
from tests.console.filling import fill, submit
from tests.console.samples import SAMPLES
from tests.console.scene import ENDINGS, HOSTILE, IMAGE, OTHER, SCRIPT, TEMPLATE, Scene

_NOUNS = [
    path.removesuffix("/new").rpartition("/")[2] for path in addresses.writes() if path.endswith("/new")
]
# A slash is a part of a provider's path, = the middle of a pair, ? a part of patterns: some names are without them.
_WITHOUT = str.maketrans("/=?", "|~!")
_TYPED = tuple(text.translate(_WITHOUT) for text in (SCRIPT + IMAGE, ENDINGS + TEMPLATE, OTHER))


@pytest.mark.parametrize("noun", _NOUNS)
async def test_a_name_that_was_typed_is_shown_as_it_was(scene: Scene, visit: Visit, noun: str) -> None:
    visiting = await visit(scene)
    page = await visiting.open(f"/console/{noun}/new")
    for text in _TYPED:
        name = f"{noun} {text}"
        await visiting.go(page, f"/console/{noun}/new")
        await fill(page, {key: value.replace("{name}", name) for key, value in SAMPLES[noun].fields.items()})
        assert await submit(page) == 200, await page.inner_text("main")
        await page.goto(f"{scene.origin}/console/{noun}")
        await page.get_by_role("searchbox").fill(name)
        await page.get_by_role("searchbox").press("Enter")
        assert await strangers(page) == []
        link = page.locator("main tbody a").first
        # Lists cut long names.
        assert (await link.inner_text()).startswith(name[:40])
        await link.click()
        await page.wait_for_url(re.compile(r"/\d+$"))
        assert name in await page.inner_text("h1")
        assert await strangers(page) == []


async def test_what_a_search_looks_for_is_shown_as_it_was(reader: Reader) -> None:
    page = await reader.open("/console/tenants")
    for text in HOSTILE:
        await page.get_by_role("searchbox").fill(f"{text}?")
        await page.get_by_role("searchbox").press("Enter")
        await page.locator(".empty").wait_for()
        assert f"{text}?" in await page.locator(".empty").inner_text()
        assert await strangers(page) == []


async def test_what_clients_send_is_shown_as_it_was(scene: Scene, reader: Reader) -> None:
    page = await reader.open(f"/console/requests/{scene.places['request_id']}")
    shown = await page.inner_text("main")
    # The agent, the user, a tag, the client's id of the request, and the names of the catalog.
    for text in (SCRIPT, IMAGE, f"{SCRIPT}{IMAGE}"):
        assert text in shown
    page = await reader.open("/console/requests")
    assert SCRIPT in await page.inner_text("main table")
    assert await strangers(page) == []


def test_no_template_turns_escaping_off() -> None:
    templates = Path(addresses.__file__).parents[2] / "src/llm_gateway/console/templates"
    texts = {path.name: path.read_text() for path in templates.rglob("*.html")}
    assert {name for name, text in texts.items() if "safe" in text.split() or "autoescape" in text} == set()
