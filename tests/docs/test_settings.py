"""Every setting is documented, and nothing is documented that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.settings_table import documented, table_row

ROOT = Path(__file__).parents[2]
SETTINGS = documented()


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_has_its_row_in_the_settings_page(name: str) -> None:
    default, meaning = SETTINGS[name]
    lines = (ROOT / "docs/settings.md").read_text().splitlines()
    row = table_row(name, default, meaning)
    assert lines.count(row) == 1, f"docs/settings.md needs this row once:\n{row}"


@pytest.mark.parametrize("name", SETTINGS)
def test_s0_32_s3_18_setting_has_its_line_in_the_example(name: str) -> None:
    default, _ = SETTINGS[name]
    lines = (ROOT / ".env.example").read_text().splitlines()
    line = f"# {name}={default}"
    assert lines.count(line) == 1, f".env.example needs this line once:\n{line}"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    page = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    example = re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(page) == set(SETTINGS)
    assert set(example) == set(SETTINGS)


def test_the_example_sets_nothing() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
