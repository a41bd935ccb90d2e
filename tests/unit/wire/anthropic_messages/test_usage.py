"""Which token counts of the Messages API are believed, and how those of a stream follow each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic import types

from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.wire.anthropic_messages.usage import (
    CacheCreation,
    OutputDetails,
    ServerToolUse,
    WireUsage,
    usage_from_wire,
)


def wire(**fields: Any) -> WireUsage:
    return msgspec.json.decode(msgspec.json.encode(fields), type=WireUsage)


def test_cached_and_thinking_tokens_are_part_of_the_totals() -> None:
    found = wire(
        input_tokens=50,
        cache_creation_input_tokens=248,
        cache_read_input_tokens=1800,
        output_tokens=503,
        output_tokens_details={"thinking_tokens": 400},
    )
    assert usage_from_wire(found) == Usage(
        prompt_tokens=2098,
        completion_tokens=503,
        total_tokens=2601,
        cached_tokens=1800,
        reasoning_tokens=400,
        cache_write_tokens=248,
    )


@pytest.mark.parametrize("odd", [None, [], "none", 5, 0.5, True])
def test_what_is_no_usage_states_nothing(odd: Any) -> None:
    assert usage_from_wire(odd) is None
    assert usage_from_wire(WireUsage(output_tokens_details=odd)) is None


@pytest.mark.parametrize("bad", [None, -1, 2**63, 0.5, "many", True, [], {}])
def test_each_count_is_judged_by_itself(bad: Any) -> None:
    assert usage_from_wire(wire(input_tokens=5, output_tokens=bad)) == StatedUsage(5, None)
    assert usage_from_wire(wire(input_tokens=bad, output_tokens=5)) == StatedUsage(None, 5)
    found = wire(input_tokens=5, output_tokens=5, cache_read_input_tokens=bad)
    assert usage_from_wire(found) == Usage(5, 5, 10)


@pytest.mark.parametrize("five", [5, 5.0, "5"])
def test_whole_numbers_are_read_in_any_notation(five: Any) -> None:
    assert usage_from_wire(wire(input_tokens=five, output_tokens=five)) == Usage(5, 5, 10)


def test_thinking_tokens_are_at_most_the_completion() -> None:
    found = WireUsage(input_tokens=1, output_tokens=3, output_tokens_details=OutputDetails(thinking_tokens=9))
    assert usage_from_wire(found) == Usage(1, 3, 4, 0, 3)


def test_cached_tokens_without_the_rest_of_the_prompt_are_kept() -> None:
    assert usage_from_wire(wire(cache_read_input_tokens=9, output_tokens=3)) == StatedUsage(None, 3, None, 9)


START = {"input_tokens": 25, "cache_read_input_tokens": 100_000, "output_tokens": 1}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"output_tokens": 7}, (25, 100_000, 7)),
        ({"input_tokens": 30, "output_tokens": 7}, (30, 100_000, 7)),
        # Some servers fill in zeros, or worse.
        ({"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 7}, (25, 100_000, 7)),
        ({"input_tokens": None, "output_tokens": 0}, (25, 100_000, 1)),
        ({"input_tokens": -1, "output_tokens": [], "cache_read_input_tokens": "?"}, (25, 100_000, 1)),
        ({}, (25, 100_000, 1)),
    ],
)
def test_later_counts_replace_earlier_ones_but_not_by_zeros(
    later: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    start = wire(**START)
    found = start.updated(wire(**later))
    counts = (found.input_tokens, found.cache_read_input_tokens, found.output_tokens)
    assert counts == expected
    assert start == wire(**START)


def test_a_zero_at_the_end_is_stated_if_nothing_else_was() -> None:
    assert wire(input_tokens=3).updated(wire(output_tokens=0)) == wire(input_tokens=3, output_tokens=0)


def test_content_makes_the_completion_out_of_date_but_not_the_prompt() -> None:
    assert usage_from_wire(wire(**START).outdated()) == StatedUsage(100_025, None, None, 100_000)


FULL = {
    "input_tokens": 50,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 20,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "standard",
}
QUANTITIES: dict[str, int | float] = {
    "cache_write_5m_tokens": 100,
    "cache_write_1h_tokens": 200,
    "web_searches": 2,
}


def test_cache_writes_are_told_apart_by_how_long_they_stay() -> None:
    expected = Usage(450, 20, 470, 100, 0, "provider", 300, UsageDetails(quantities=QUANTITIES))
    assert usage_from_wire(wire(**FULL)) == expected
    # The sum, where it is not stated.
    assert usage_from_wire(wire(**{**FULL, "cache_creation_input_tokens": None})) == expected
    # Parts that are more than the whole.
    less = usage_from_wire(wire(**{**FULL, "cache_creation_input_tokens": 299}))
    assert less == Usage(449, 20, 469, 100, 0, "provider", 299, UsageDetails(quantities={"web_searches": 2}))


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"service_tier": "standard", "speed": "standard"}, None),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "priority", "speed": "fast"}, "fast"),
    ],
)
def test_the_speed_is_a_tier(fields: dict[str, Any], tier: str | None) -> None:
    found = usage_from_wire(wire(input_tokens=1, output_tokens=1, **fields))
    assert found is not None
    assert (None if found.details is None else found.details.served_tier) == tier


def test_the_end_of_a_stream_adds_to_what_its_start_stated() -> None:
    start = {**FULL, "output_tokens": 1, "server_tool_use": {"web_search_requests": 0}, "speed": "fast"}
    end = {"output_tokens": 20, "server_tool_use": {"web_search_requests": 2}}
    counts = WireUsage().updated(wire(**start)).outdated().updated(wire(**end))
    details = UsageDetails(quantities=QUANTITIES, served_tier="fast")
    assert usage_from_wire(counts) == Usage(450, 20, 470, 100, 0, "provider", 300, details)


@pytest.mark.parametrize("odd", [None, [], "many", 5, 0.5, True, {}])
def test_odd_values_beside_the_counts_state_nothing(odd: Any) -> None:
    others = dict.fromkeys(("cache_creation", "server_tool_use", "service_tier", "speed"), odd)
    found = usage_from_wire(wire(input_tokens=5, output_tokens=5, **others))
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens, found.cache_write_tokens) == (5, 5, 0)
    assert found.details is None or found.details == UsageDetails(served_tier="many")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(WireUsage, types.Usage), (CacheCreation, types.CacheCreation), (ServerToolUse, types.ServerToolUsage)],
)
def test_the_names_are_those_of_the_official_client(ours: type[msgspec.Struct], theirs: Any) -> None:
    assert set(ours.__struct_fields__) <= theirs.model_fields.keys()
