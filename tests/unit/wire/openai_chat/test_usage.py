"""Which token counts are read from `usage`, and which are not believed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types import completion_usage

from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.wire.openai_chat.usage import (
    BilledUsage,
    CompletionDetails,
    PromptDetails,
    WireUsage,
    usage_from_wire,
)
from llm_gateway.wire.stated_costs import openrouter_cost


def read(**fields: Any) -> Usage | StatedUsage | None:
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
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=15,
        cached_tokens=4,
        reasoning_tokens=3,
        details=UsageDetails(quantities={"input_audio_tokens": 1}),
    )


def test_a_missing_total_is_the_sum() -> None:
    assert read(prompt_tokens=10, completion_tokens=5) == Usage(
        prompt_tokens=10, completion_tokens=5, total_tokens=15
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt_tokens": 7}, StatedUsage(7, None)),
        ({"completion_tokens": 25}, StatedUsage(None, 25)),
        ({"total_tokens": 5}, StatedUsage(None, None, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, StatedUsage(0, 0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, StatedUsage(None, 2)),
        ({"prompt_tokens": 1, "completion_tokens": -2}, StatedUsage(1, None)),
        ({"prompt_tokens": 1, "total_tokens": -1}, StatedUsage(1, None)),
        ({"prompt_tokens": 10**18, "completion_tokens": 2}, StatedUsage(None, 2)),
    ],
)
def test_half_a_usage_is_not_taken_for_a_whole_one(fields: dict[str, Any], expected: StatedUsage) -> None:
    assert read(**fields) == expected


@pytest.mark.parametrize("fields", [{}, {"prompt_tokens": None, "completion_tokens": None}, {"new": 5}])
def test_usage_without_counts_states_nothing(fields: dict[str, Any]) -> None:
    assert read(**fields) is None


@pytest.mark.parametrize("odd", [None, [], [5], "none", 5, 0.5, True])
def test_what_is_no_object_states_nothing_and_is_readable(odd: Any) -> None:
    assert usage_from_wire(odd) is None
    found = read(
        prompt_tokens=10, completion_tokens=5, prompt_tokens_details=odd, completion_tokens_details=odd
    )
    assert found == Usage(10, 5, 15)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_tokens": 10.0, "completion_tokens": 5.0, "total_tokens": 15.0},
        {"prompt_tokens": "10", "completion_tokens": "5", "total_tokens": "15"},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": True},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": {}},
        {"prompt_tokens": 10, "completion_tokens": "?", "total_tokens": 15},
    ],
)
def test_counts_in_another_notation_are_read(fields: dict[str, Any]) -> None:
    assert read(**fields) == Usage(10, 5, 15)


def test_reasoning_besides_the_completion_is_part_of_it() -> None:
    found = read(
        prompt_tokens=32,
        completion_tokens=9,
        total_tokens=135,
        completion_tokens_details={"reasoning_tokens": 94},
    )
    assert found == Usage(32, 103, 135, 0, 94)


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
        ({"prompt_tokens_details": {"cached_tokens": 4.0}}, 4),
        ({"prompt_tokens_details": {"cached_tokens": []}}, 0),
        ({"prompt_tokens_details": [], "prompt_cache_hit_tokens": "6"}, 6),
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


def test_the_parts_of_prompt_and_completion_are_read() -> None:
    found = read(
        prompt_tokens=100,
        completion_tokens=50,
        total_tokens=150,
        prompt_tokens_details={
            "cached_tokens": 40,
            "cache_write_tokens": 30,
            "audio_tokens": 20,
            "image_tokens": 10,
        },
        completion_tokens_details={"audio_tokens": 30, "reasoning_tokens": 7},
    )
    quantities: dict[str, int | float] = {
        "input_audio_tokens": 20,
        "input_image_tokens": 10,
        "output_audio_tokens": 30,
    }
    assert found == Usage(100, 50, 150, 40, 7, "provider", 30, UsageDetails(quantities=quantities))


def test_other_gateways_name_of_cache_writes_is_known() -> None:
    found = read(prompt_tokens=9, completion_tokens=1, prompt_tokens_details={"cache_creation_tokens": 4})
    assert found == Usage(9, 1, 10, 0, 0, "provider", 4)


def test_cached_and_written_tokens_beside_the_prompt_are_part_of_it() -> None:
    details = {"cached_tokens": 70, "cache_write_tokens": 20}
    found = read(prompt_tokens=10, completion_tokens=5, total_tokens=105, prompt_tokens_details=details)
    assert found == Usage(100, 5, 105, 70, 0, "provider", 20)


PLAIN: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize("tier", [None, "default", "auto", "standard", "on_demand", [], {}, 5, ""])
def test_an_ordinary_reply_has_no_details(tier: Any) -> None:
    assert usage_from_wire(WireUsage(**PLAIN), tier) == Usage(10, 5, 15)


def test_a_tier_that_is_not_the_ordinary_one_is_kept() -> None:
    usage = usage_from_wire(WireUsage(**PLAIN), "flex")
    assert usage == Usage(10, 5, 15, details=UsageDetails(served_tier="flex"))


def test_a_request_for_a_tier_shows_that_the_ordinary_one_served_it() -> None:
    usage = usage_from_wire(WireUsage(**PLAIN), "default", None, {"service_tier": b'"flex"'})
    assert usage == Usage(10, 5, 15, details=UsageDetails(served_tier="default"))


def test_a_cost_is_read_only_if_the_provider_is_known_to_state_it() -> None:
    wire = BilledUsage(**PLAIN, cost=0.5, server_tool_use={"web_search_requests": 2})
    searches: dict[str, int | float] = {"web_searches": 2}
    details = UsageDetails(quantities=searches, cost_nano_usd=500_000_000)
    assert usage_from_wire(wire, None, openrouter_cost) == Usage(10, 5, 15, details=details)
    assert usage_from_wire(WireUsage(**PLAIN), None, openrouter_cost) == Usage(10, 5, 15)
    alone = usage_from_wire(BilledUsage(cost=0), None, openrouter_cost)
    assert alone == StatedUsage(details=UsageDetails(cost_nano_usd=0))


@pytest.mark.parametrize(
    ("ours", "theirs", "others"),
    [
        (WireUsage, completion_usage.CompletionUsage, {"prompt_cache_hit_tokens"}),
        (PromptDetails, completion_usage.PromptTokensDetails, {"cache_creation_tokens"}),
        (CompletionDetails, completion_usage.CompletionTokensDetails, set()),
    ],
)
def test_the_names_are_those_of_the_official_client(
    ours: type[msgspec.Struct], theirs: Any, others: set[str]
) -> None:
    assert set(ours.__struct_fields__) - theirs.model_fields.keys() == others


def test_openrouters_own_parts_are_read_where_costs_are() -> None:
    fields = {
        **PLAIN,
        "prompt_tokens_details": {"video_tokens": 4},
        "completion_tokens_details": {"image_tokens": 3},
    }
    quantities: dict[str, int | float] = {"input_video_tokens": 4, "output_image_tokens": 3}
    found = msgspec.convert(fields, BilledUsage)
    assert usage_from_wire(found) == Usage(10, 5, 15, details=UsageDetails(quantities=quantities))
