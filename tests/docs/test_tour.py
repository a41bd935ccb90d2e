"""The reader's tour in docs/architecture.md names the modules that run, in the order in which they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.tour import FIRST, HEADING, PAGE, SOURCE, TOURS, traced_tours
from tests.fakes.upstream import FakeUpstream

SECTIONS = re.split(r"^### ", PAGE.read_text().partition(HEADING)[2], flags=re.MULTILINE)[1:]
LINES = {
    section.partition("\n")[0]: re.findall(r"^(\d+)\. `([\w/]+\.py)`", section, re.MULTILINE)
    for section in SECTIONS
}
CHAT = [module for _, module in LINES[FIRST]]
# A list that begins at 8 shares the first seven with the chat.
WRITTEN = {
    name: [*CHAT[: int(lines[0][0]) - 1], *(module for _, module in lines)] for name, lines in LINES.items()
}
# How many places a module may stand before or after its place in the list.
NEAR = 6
ADVICE = "`python -m tests.docs.tour` writes docs/architecture.md again"


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    started = FakeUpstream().start()
    yield started
    started.stop()


def test_every_module_of_the_tour_exists() -> None:
    assert WRITTEN.keys() == TOURS.keys()
    missing = [
        module for modules in WRITTEN.values() for module in modules if not (Path(SOURCE) / module).is_file()
    ]
    assert missing == [], ADVICE


async def test_the_tour_is_what_runs(tmp_path: Path, fake: FakeUpstream) -> None:
    traced = await traced_tours(tmp_path / "data", fake)
    # Background work may run in between, or have run before.
    background = set(traced.pop("idle"))
    for name, modules in traced.items():
        written = WRITTEN[name]
        assert set(modules) - background - set(written) == set(), f"missing in {name!r}: {ADVICE}"
        assert set(written) - background - set(modules) == set(), f"not run in {name!r}: {ADVICE}"
        in_order = [module for module in modules if module in written and module not in background]
        expected = [module for module in written if module in in_order]
        # What arrives first, the end of a reply or its last bytes, is for the network to say.
        moved = [module for at, module in enumerate(expected) if abs(in_order.index(module) - at) > NEAR]
        assert moved == [], f"order of {name!r}: {ADVICE}"
