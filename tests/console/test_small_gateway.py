"""The console of a gateway with one worker and SQLite: every page renders, with nothing wrong in it."""

from __future__ import annotations

import pytest

from tests.console import addresses
from tests.console.conftest import Reader
from tests.console.scene import Scene


@pytest.mark.parametrize("path", addresses.of_signed_in(addresses.pages()))
async def test_a_page_renders(small_scene: Scene, small_reader: Reader, path: str) -> None:
    page = await small_reader.open(addresses.fill(path, small_scene.places))
    assert await page.locator("main h1").count() == 1
