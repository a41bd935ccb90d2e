"""Each stated number is judged by itself, the total is a witness, and a stream's statements follow each other."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.token_counts import MAX_COUNT, as_count, stated_usage, updated


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (50, 50),
        (0, 0),
        (MAX_COUNT, MAX_COUNT),
        (50.0, 50),
        (1e3, 1000),
        ("50", 50),
        (" 50 ", 50),
        ("50.0", 50),
        ("007", 7),
    ],
)
def test_whole_numbers_are_counts_in_any_notation(value: object, count: int) -> None:
    assert as_count(value) == count


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            False,
            -1,
            MAX_COUNT + 1,
            10**18,
            10**400,
            -0.5,
            50.5,
            float("nan"),
            float("inf"),
            1e300,
        ),
        *(
            "",
            "-5",
            "50.5",
            "1e3",
            "NaN",
            "fifty",
            "\u0665",
            "9" * 100_000,
            [],
            [50],
            {},
            {"count": 50},
            b"50",
        ),
    ],
)
def test_anything_else_is_no_count(value: object) -> None:
    assert as_count(value) is None


def test_both_counts_make_a_usage() -> None:
    assert stated_usage(10, 5, 15, 4, 3) == Usage(10, 5, 15, 4, 3)
    assert stated_usage(10, 5, None) == Usage(10, 5, 15)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ((None, 25, None), StatedUsage(None, 25)),
        ((25, None, None), StatedUsage(25, None)),
        ((25, None, 25), StatedUsage(25, None, 25)),
        ((0, 0, 0), StatedUsage(0, 0, 0)),
        ((10, 0, 10), StatedUsage(10, 0, 10)),
        ((0, 8, 8), StatedUsage(0, 8, 8)),
        ((-1, 5, 4), StatedUsage(None, 5, 4)),
        ((5, 10**18, 10**18), StatedUsage(5, None)),
        ((None, None, 50), StatedUsage(None, None, 50)),
        ((0, 0, 50), StatedUsage(0, 0, 50)),
        ((None, 5, None, 9), StatedUsage(None, 5, None, 9)),
        ((5, None, None, 0, 9), StatedUsage(5, None, None, 0, 9)),
    ],
)
def test_half_a_usage_is_kept_as_such(stated: tuple[Any, ...], expected: StatedUsage) -> None:
    assert stated_usage(*stated) == expected


@pytest.mark.parametrize(
    "stated", [(None, None, None), (True, "x", []), (None, None, 0), ([], {}, -1, -1, -1)]
)
def test_nothing_that_can_be_right_is_nothing(stated: tuple[Any, ...]) -> None:
    assert stated_usage(*stated) is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        # The missing half follows from the total.
        ((10, None, 15), Usage(10, 5, 15)),
        ((None, 5, 15), Usage(10, 5, 15)),
        ((10, 0, 15), Usage(10, 5, 15)),
        ((0, 5, 15), Usage(10, 5, 15)),
        # xAI counts reasoning besides the completion, Google's OpenAI endpoint does it with no completion at all.
        ((32, 9, 135, 0, 94), Usage(32, 103, 135, 0, 94)),
        ((21, 0, 81, 0, 60), Usage(21, 60, 81, 0, 60)),
        # OpenAI counts it within.
        ((32, 103, 135, 0, 94), Usage(32, 103, 135, 0, 94)),
        # Some count cached tokens besides the prompt, as Anthropic does.
        ((25, 10, 1035, 1000), Usage(1025, 10, 1035, 1000)),
        ((1025, 10, 1035, 1000), Usage(1025, 10, 1035, 1000)),
        # A total of the provider's own stays; one that is too small does not.
        ((10, 5, 20), Usage(10, 5, 20)),
        ((10, 5, 3), Usage(10, 5, 15)),
        ((10, 5, 0), Usage(10, 5, 15)),
        # A part is never more than the whole.
        ((10, 5, 15, 99, 99), Usage(10, 5, 15, 10, 5)),
    ],
)
def test_the_total_is_a_witness(stated: tuple[Any, ...], expected: Usage) -> None:
    assert stated_usage(*stated) == expected


FIRST = Usage(100, 1, 101, 90)


@pytest.mark.parametrize(
    ("before", "now", "has_content", "expected"),
    [
        (None, None, True, None),
        (None, FIRST, True, FIRST),
        # Usage on the first event alone, though words follow.
        (FIRST, None, True, StatedUsage(100, None, None, 90)),
        (FIRST, None, False, FIRST),
        # Usage on every event includes the event's own content.
        (FIRST, Usage(100, 2, 102, 90), True, Usage(100, 2, 102, 90)),
        (FIRST, Usage(100, 2, 102), True, Usage(100, 2, 102, 90)),
        # Zeros do not replace what was stated, unless content came with them.
        (FIRST, StatedUsage(0, 0, 0), False, FIRST),
        (FIRST, StatedUsage(0, 0, 0), True, StatedUsage(100, 0, None, 90)),
        (FIRST, StatedUsage(None, 7), True, Usage(100, 7, 107, 90)),
        (FIRST, StatedUsage(120, None), False, Usage(120, 1, 121, 90)),
        (FIRST, StatedUsage(120, None), True, StatedUsage(120, None, None, 90)),
        (StatedUsage(100, None), StatedUsage(None, 7), False, Usage(100, 7, 107)),
        (StatedUsage(100, None), StatedUsage(0, 0), False, StatedUsage(100, 0)),
    ],
)
def test_the_statements_of_a_stream_follow_each_other(
    before: Usage | StatedUsage | None,
    now: Usage | StatedUsage | None,
    has_content: bool,
    expected: Usage | StatedUsage | None,
) -> None:
    found = updated(before, now, has_content=has_content)
    if isinstance(found, StatedUsage) and not found.total_tokens:
        found = StatedUsage(
            found.prompt_tokens, found.completion_tokens, None, found.cached_tokens, found.reasoning_tokens
        )
    assert found == expected
