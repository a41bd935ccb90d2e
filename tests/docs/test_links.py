"""What the documents point at is there: files, make targets, dependencies."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_point_at_files_and_headings(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    # Inline code, and lines of examples that start with make.
    calls = re.findall(r"`make ([a-z -]+)", text) + re.findall(
        r"^(?:\$ )?make ([a-z -]+)", text, re.MULTILINE
    )
    named = {target for call in calls for target in call.split()}
    assert named - _make_targets() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"\bscripts/[\w.]+\.(?:sh|py)", page.read_text()))
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)) == _make_targets()


def test_every_script_is_a_target_or_documented() -> None:
    known = (ROOT / "Makefile").read_text() + (ROOT / "README.md").read_text()
    scripts = {str(path.relative_to(ROOT)) for path in ROOT.glob("scripts/*.sh")}
    assert {script for script in scripts if script not in known} == set()


def test_s4_15_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
        *(name for group in project["dependency-groups"].values() for name in group),
    ]
    direct = {re.split(r"[\[<>=;~! ]", requirement, maxsplit=1)[0] for requirement in requirements}
    documented = re.findall(
        r"^\| `([\w-]+)` \| \S", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE
    )
    assert sorted(set(documented)) == sorted(direct)
