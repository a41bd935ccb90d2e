"""Every page, in light and dark, wide and narrow: it renders, fits, is accessible, and breaks no rule of its own."""

from __future__ import annotations

import pytest

from tests.console import addresses
from tests.console.browsing import (
    NARROW,
    WIDE,
    Scheme,
    grave_findings,
    overflow,
    poor_contrast,
    strangers,
    without_visible_focus,
)
from tests.console.conftest import Reader, Visit
from tests.console.scene import Scene

_OTHER: dict[Scheme, Scheme] = {"light": "dark", "dark": "light"}


@pytest.mark.parametrize("path", addresses.of_signed_in(addresses.pages()))
async def test_a_page_renders_fits_and_is_accessible(scene: Scene, reader: Reader, path: str) -> None:
    address = addresses.fill(path, scene.places)
    page = reader.page
    looks: tuple[tuple[Scheme, int], ...] = (("light", WIDE), ("dark", NARROW))
    for scheme, width in looks:
        await reader.open(address, scheme=scheme, width=width)
        assert await page.locator("h1").count() == 1
        assert (await page.locator("h1").inner_text()).strip()
        assert (await page.title()).strip(" ·") not in {"", "LLM gateway"}
        assert await page.get_attribute("html", "lang") == "en"
        assert await overflow(page) <= 0, f"{path} is too wide for {width} px"
        assert await grave_findings(page) == []
        # Colours of the other scheme at this width; what is laid out stays.
        await page.emulate_media(color_scheme=_OTHER[scheme])
        assert await overflow(page) <= 0
        assert await poor_contrast(page) == []
    assert await strangers(page) == []
    assert await without_visible_focus(page) == []


@pytest.mark.parametrize(("scheme", "width"), [("light", WIDE), ("dark", NARROW)])
async def test_the_page_to_sign_in_is_accessible(
    scene: Scene, visit: Visit, scheme: Scheme, width: int
) -> None:
    visiting = await visit(scene, key=None, scheme=scheme, width=width)
    page = await visiting.open("/console/sign-in")
    assert await page.locator("h1").count() == 1
    assert await overflow(page) <= 0
    assert await grave_findings(page) == []


async def test_a_page_that_is_not_there_says_so(scene: Scene, visit: Visit) -> None:
    visiting = await visit(scene)
    page = await visiting.open("/console/nowhere?<script>alert(1)</script>", status=404)
    assert "There is no page at /console/nowhere" in await page.inner_text("main")
    assert await grave_findings(page) == []
