"""docs/reference-systems.md says of each row of the five systems which tests show it, or what is different here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.reference_systems import (
    PAGE,
    checklist,
    deviations,
    ids_in_name,
    ids_in_text,
    missing,
    page,
    row_tests,
)

ROWS = checklist()
SHOWN = row_tests()
DIFFERENT = deviations()
ADVICE = "`python -m tests.docs.reference_systems` writes docs/reference-systems.md again"


def test_the_checklist_has_every_row_of_the_five_systems() -> None:
    lengths = {system.id: len(system.rows) for system in ROWS.systems}
    assert lengths == {"S0": 48, "S1": 26, "S2": 28, "S3": 30, "S4": 63}
    assert ROWS.ids == [
        f"{system}.{number}" for system, length in lengths.items() for number in range(1, length + 1)
    ]


def test_every_row_has_a_test_or_a_reason() -> None:
    assert missing(ROWS, SHOWN, DIFFERENT) == []


def test_no_test_and_no_deviation_names_a_row_that_does_not_exist() -> None:
    assert {*SHOWN, *DIFFERENT, *ROWS.planned, *ROWS.partly} - {*ROWS.ids} == set()


def test_what_is_planned_has_no_test_yet() -> None:
    built = {row: SHOWN[row] for row in ROWS.planned & SHOWN.keys()}
    assert built == {}, "these rows have tests: take them off `planned` in tests/docs/reference_rows.toml"


def test_what_is_built_in_part_has_a_test() -> None:
    assert ROWS.partly.keys() - SHOWN.keys() == set()


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(ROWS, SHOWN, DIFFERENT), ADVICE


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_s4_38_create", ["S4.38"]),
        ("test_s4_38_to_40", ["S4.38", "S4.39", "S4.40"]),
        ("test_s4_9_to_s4_10_life", ["S4.9", "S4.10"]),
        ("test_s4_43_s3_4_c17", ["S4.43", "S3.4"]),
        ("test_https1_5", []),
        ("test_s5_1_c38", []),
    ],
    ids=range(6),
)
def test_a_name_carries_ids(name: str, rows: list[str]) -> None:
    assert ids_in_name(name) == rows


def test_a_text_names_rows() -> None:
    assert ids_in_text("S4.38 to S4.40, S3.1") == ["S4.38", "S4.39", "S4.40", "S3.1"]
    assert ids_in_text("S4.38 to 40; XS1.1") == ["S4.38", "S4.39", "S4.40"]


def test_names_and_ids_of_parameters_are_collected(tmp_path: Path) -> None:
    row = "s2_7"
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit/test_one.py").write_text(
        f"def test_{row}() -> None: ...\n"
        f'@pytest.mark.parametrize("x", [pytest.param(1, id="{row}_x"), 2], ids=["{row}_y", None])\n'
        f'def test_other(x): print("{row}_z")\n'
    )
    assert [test.name for test in row_tests(tmp_path)["S2.7"]] == [f"{row}_x", f"{row}_y", f"test_{row}"]


def test_a_row_may_have_several_deviations() -> None:
    table = (
        "| rows | there | here | why |\n|---|---|---|---|\n"
        "| S4.1, S4.3 to S4.4 | a | b | Because. |\n| S4.1 | c | `D` | So. |\n| | x | y | z |\n"
    )
    assert deviations(table) == {"S4.1": "B. Because. `D`. So.", "S4.3": "B. Because.", "S4.4": "B. Because."}
