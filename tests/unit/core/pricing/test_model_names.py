"""Names of models match clauses, in bounded time."""

from __future__ import annotations

import pytest

from llm_gateway.core.pricing.model_names import LONGEST_NAME, ModelIndex, compile_clause, with_dashed_dates


@pytest.mark.parametrize(
    ("clause", "matching", "other"),
    [
        ("GPT-4o", "gpt-4o", "gpt-4o-mini"),
        ({"starts_with": "Claude-"}, "claude-3", "my-claude-3"),
        ({"ends_with": ":Free"}, "a:free", "a:free:b"),
        ({"contains": "Sonar"}, "my-sonar-pro", "so-nar"),
        ({"regex": r"^o[134]"}, "o3-mini", "o2"),
        ({"regex": r"mini$"}, "o3-mini", "mini-o3"),
        ({"or": ["a", {"starts_with": "b"}]}, "bc", "ab"),
        ({"and": [{"contains": "b"}, {"contains": "c"}]}, "cb", "b"),
        ({"and": [{"or": ["a", "ab"]}, {"ends_with": "b"}]}, "ab", "a"),
    ],
)
def test_a_clause_matches_what_it_says(clause: object, matching: str, other: str) -> None:
    matches = compile_clause(clause)
    assert matches(matching)
    assert not matches(other)


@pytest.mark.parametrize(
    "clause",
    [
        *(None, 1, {}, [], {"equals": "a"}, {"or": "a"}, {"starts_with": 1}, {"regex": None}),
        *({"or": [None]}, {"and": [{"not": "a"}]}, {"starts_with": "a", "ends_with": "b"}),
    ],
)
def test_anything_else_is_not_a_clause(clause: object) -> None:
    with pytest.raises(ValueError, match="not a clause"):
        compile_clause(clause)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+$",
            "(a*)*$",
            "a+b+",
            r"(\w|\w\w)+x",
            "a{2,}b{3,}",
            "(a+){10}b",
            "(a|a)*b",
            r"(a)\1",
            "(?P<x>a)(?P=x)",
        ),
        *("a?" * 13 + "a" * 13, "(a|a)" * 13, "x" * 201, "(", "[a"),
    ],
)
def test_a_pattern_that_could_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="the pattern"):
        compile_clause({"regex": pattern})


@pytest.mark.parametrize("pattern", ["a?" * 12 + "a" * 12 + "b", "(a|a)" * 12 + "b", "(a|a)" * 11 + "[^/]+b"])
def test_a_pattern_that_is_let_through_ends_on_the_longest_name(pattern: str) -> None:
    assert not compile_clause({"regex": pattern})("a" * LONGEST_NAME)


def test_the_first_model_that_matches_is_found() -> None:
    index = ModelIndex(
        [
            {"or": ["a", {"starts_with": "b-"}]},
            "b-1",
            {"or": ["C", {"ends_with": "-1"}]},
            {"contains": "d"},
            "d",
        ]
    )
    assert [index.find(name) for name in ("a", "b-1", "c", "c-1", "d", "xdx", "e")] == [
        0,
        0,
        2,
        2,
        3,
        3,
        None,
    ]


@pytest.mark.parametrize(
    ("name", "dashed"),
    [
        ("gpt-5.2-20251211", "gpt-5.2-2025-12-11"),
        ("a-20251211:free", "a-2025-12-11:free"),
        ("a-20251211-20240229-b", "a-2025-12-11-2024-02-29-b"),
        ("a-20250229", "a-20250229"),
        ("a-20251311", "a-20251311"),
        ("a-202512110", "a-202512110"),
        ("a20251211", "a20251211"),
        ("gpt-5.2-2025-12-11", "gpt-5.2-2025-12-11"),
    ],
)
def test_compact_dates_get_dashes(name: str, dashed: str) -> None:
    assert with_dashed_dates(name) == dashed
