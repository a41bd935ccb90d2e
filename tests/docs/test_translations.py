"""The translated README has the commands of the original, and both lead to each other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORIGINAL = (ROOT / "README.md").read_text()
TRANSLATION = (ROOT / "README_CN.md").read_text()


def blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)


def test_s4_63_the_translation_has_every_command_of_the_original() -> None:
    assert blocks(ORIGINAL)
    assert blocks(TRANSLATION) == blocks(ORIGINAL)
    assert TRANSLATION.count("\n## ") == ORIGINAL.count("\n## ")


def test_s4_63_there_is_a_page_for_each_subject_that_the_reference_system_has() -> None:
    assert "(README_CN.md)" in ORIGINAL
    assert "(README.md)" in TRANSLATION
    for page in ("docs/architecture.md", "docs/monitoring.md", "docs/docker.md"):
        assert (ROOT / page).is_file()
        assert f"({page})" in ORIGINAL
        assert f"({page})" in TRANSLATION
