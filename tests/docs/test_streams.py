"""The page on streams promises for each fault what the fault matrix checks, and leaves none out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fakes.fault_cases import CASES, promised

PAGE = (Path(__file__).parents[2] / "docs/streams.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ?([^|]*) \| ?([^|]*) \| ((?:`\w+`(?:, )?)+) \|$", PAGE, re.MULTILINE)


def test_every_row_has_cases_and_every_fault_a_row() -> None:
    named = [name for *_, names in ROWS for name in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted({case.fault for case in CASES})
    assert len(ROWS) == PAGE.count("\n| ") - 1, "a row that cannot be read"


def test_what_a_row_says_is_what_is_checked() -> None:
    said = {
        name: (before, after) for _, before, after, names in ROWS for name in re.findall(r"`(\w+)`", names)
    }
    for case in CASES:
        before, after = said[case.fault]
        promise = promised(case)
        if promise.end == "failover":
            assert before.startswith("another provider answers"), case
            assert ("LLM_TIMEOUT" in before) == (promise.reason == "timeout"), case
        elif promise.end == "error":
            is_providers = promise.reason == "engine_died"
            assert ("the provider's message" if is_providers else f"`{promise.reason}`") in after, case
        elif promise.end == "completed":
            assert "complete if all `finish_reason` came" in after, case
        elif promise.end == "whole":
            assert after.startswith("passed on"), case
        else:
            assert before.startswith("the client gets a 400"), case
