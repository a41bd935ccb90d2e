"""Which token counts are read from `usage`, and which are not believed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.wire.openai_chat.usage import WireUsage, usage_from_wire


def read(**fields: Any) -> Usage | None:
    return usage_from_wire(msgspec.json.decode(msgspec.json.encode(fields), type=WireUsage))


def test_all_counts_are_read() -> None:
    found = read(
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=15,
        prompt_tokens_details={"cached_tokens": 4, "audio_tokens": 1},
        completion_tokens_details={"reasoning_tokens": 3},
    )
    assert found == Usage(
        prompt_tokens=10, completion_tokens=5, total_tokens=15, cached_tokens=4, reasoning_tokens=3
    )


def test_a_missing_total_is_the_sum() -> None:
    assert read(prompt_tokens=10, completion_tokens=5) == Usage(
        prompt_tokens=10, completion_tokens=5, total_tokens=15
    )


def test_a_total_of_the_providers_own_stays() -> None:
    found = read(prompt_tokens=10, completion_tokens=5, total_tokens=20)
    assert found is not None
    assert found.total_tokens == 20


@pytest.mark.parametrize(("fields", "total"), [({"prompt_tokens": 7}, 7), ({"completion_tokens": 2}, 2)])
def test_one_of_the_two_counts_is_enough(fields: dict[str, int], total: int) -> None:
    found = read(**fields)
    assert found is not None
    assert found.total_tokens == found.prompt_tokens + found.completion_tokens == total


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"total_tokens": 5},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": 1, "completion_tokens": -2},
        {"prompt_tokens": 1, "total_tokens": -1},
        {"prompt_tokens": 2**40 + 1},
        {"completion_tokens": 2**40 + 1},
        {"prompt_tokens": 1, "total_tokens": 2**40 + 1},
    ],
)
def test_counts_that_cannot_be_right_are_unknown_usage(fields: dict[str, Any]) -> None:
    assert read(**fields) is None
    assert usage_from_wire(None) is None


def test_the_largest_count_is_believed() -> None:
    assert read(prompt_tokens=2**40, completion_tokens=0) is not None


@pytest.mark.parametrize(
    ("fields", "cached"),
    [
        ({"prompt_cache_hit_tokens": 6}, 6),
        ({"prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({"prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": None}}, 6),
        ({"prompt_tokens_details": {}}, 0),
        # A part is never more than the whole.
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 10),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
    ],
)
def test_cached_tokens_are_a_part_of_the_prompt(fields: dict[str, Any], cached: int) -> None:
    found = read(prompt_tokens=10, completion_tokens=5, **fields)
    assert found is not None
    assert found.cached_tokens == cached


@pytest.mark.parametrize(("told", "reasoning"), [(3, 3), (99, 5), (-1, 0), (None, 0)])
def test_reasoning_tokens_are_a_part_of_the_completion(told: int | None, reasoning: int) -> None:
    found = read(prompt_tokens=1, completion_tokens=5, completion_tokens_details={"reasoning_tokens": told})
    assert found is not None
    assert found.reasoning_tokens == reasoning
