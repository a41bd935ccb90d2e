"""The pictures of docs/console.md: each page has one, and they are small. `draw_pictures` draws them."""

from __future__ import annotations

import re

from tests.console import addresses
from tests.console.draw_pictures import FOLDER, PAGES
from tests.console.png import size_of

_DOCUMENT = FOLDER.parents[1] / "console.md"
_LARGEST = 100_000


def test_every_section_has_a_picture() -> None:
    lists = {path for path in addresses.of_signed_in(addresses.pages()) if path.count("/") == 2}
    assert lists - set(PAGES.values()) == set()


def test_pictures_are_small_and_shown() -> None:
    shown = set(re.findall(r"\]\(pictures/console/([a-z-]+)\.png\)", _DOCUMENT.read_text()))
    drawn = {path.stem: path.read_bytes() for path in FOLDER.glob("*.png")}
    assert drawn.keys() == shown
    assert {name for name, picture in drawn.items() if len(picture) > _LARGEST} == set()
    assert {size_of(picture)[0] for picture in drawn.values()} == {360, 1440}
    assert drawn.keys() >= PAGES.keys()
