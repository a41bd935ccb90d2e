"""Parts of a usage fit into what contains them."""

from __future__ import annotations

import pytest

from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.core.ledger.usage_parts import merged, outdated, whole_usage


def kept(usage: Usage, **quantities: float) -> dict[str, int | float]:
    """Return which of the quantities a usage keeps."""
    whole = whole_usage(
        Usage(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            "provider",
            usage.cache_write_tokens,
            UsageDetails(quantities=quantities),
        )
    )
    return {} if whole.details is None else dict(whole.details.quantities)


USED = Usage(100, 50, 150, 40, 20, "provider", 30)


@pytest.mark.parametrize(
    "quantities",
    [
        {"input_audio_tokens": 100},
        {"input_audio_tokens": 60, "input_image_tokens": 40, "output_audio_tokens": 50},
        {"input_audio_tokens": 50, "cache_audio_read_tokens": 40},
        {"cache_write_5m_tokens": 10, "cache_write_1h_tokens": 20},
        {"input_tool_tokens": 30},
        {"web_searches": 500},
        {"output_citation_tokens": 30},
    ],
)
def test_parts_that_fit_are_kept(quantities: dict[str, int | float]) -> None:
    assert kept(USED, **quantities) == quantities


@pytest.mark.parametrize(
    ("quantities", "left"),
    [
        # Without audio tokens, audio would be billed as text.
        (
            {"input_audio_tokens": 101, "output_audio_tokens": 51},
            {"input_audio_tokens": 100, "output_audio_tokens": 50},
        ),
        # Each fits, but not all of them.
        ({"input_audio_tokens": 60, "input_image_tokens": 41}, {"input_audio_tokens": 60}),
        ({"input_video_tokens": 60, "input_image_tokens": 41}, {}),
        ({"input_audio_tokens": 10, "cache_audio_read_tokens": 11}, {"input_audio_tokens": 10}),
        # What is left of nothing.
        ({"input_video_tokens": 101, "cache_video_read_tokens": 11}, {}),
        ({"input_video_tokens": 90, "cache_video_read_tokens": 41}, {"input_video_tokens": 90}),
        ({"cache_write_5m_tokens": 11, "cache_write_1h_tokens": 20}, {}),
        # 70 of the prompt are read from the cache or written to it.
        ({"input_tool_tokens": 31, "web_searches": 1}, {"web_searches": 1}),
        ({"output_citation_tokens": 31}, {}),
        (
            {"input_tool_tokens": 20, "input_audio_tokens": 30, "input_audio_tool_tokens": 21},
            {"input_tool_tokens": 20, "input_audio_tokens": 30},
        ),
    ],
)
def test_parts_that_do_not_fit_are_left_out(
    quantities: dict[str, int | float], left: dict[str, int | float]
) -> None:
    assert kept(USED, **quantities) == left


def test_a_cost_and_a_tier_stay_without_quantities() -> None:
    details = UsageDetails(quantities={"input_video_tokens": 7}, served_tier="flex", cost_nano_usd=0)
    whole = whole_usage(Usage(5, 5, 10, details=details))
    assert whole.details == UsageDetails(served_tier="flex", cost_nano_usd=0)


def test_tokens_written_to_the_cache_need_room_beside_those_read_from_it() -> None:
    assert whole_usage(Usage(100, 1, 101, 60, 0, "provider", 40)).cache_write_tokens == 40
    assert whole_usage(Usage(100, 1, 101, 60, 0, "provider", 41)).cache_write_tokens == 0
    assert whole_usage(Usage(10, 1, 11, 60, 5, "provider", 41)) == Usage(10, 1, 11, 10, 1)


def test_what_is_stated_later_replaces_what_was_stated_before() -> None:
    before = UsageDetails(
        quantities={"web_searches": 1, "input_audio_tokens": 5}, served_tier="flex", cost_nano_usd=7
    )
    now = UsageDetails(quantities={"web_searches": 2}, cost_nano_usd=0)
    assert merged(before, now) == UsageDetails(
        quantities={"web_searches": 2, "input_audio_tokens": 5}, served_tier="flex", cost_nano_usd=0
    )
    assert merged(before, None) is before
    assert merged(None, now) is now
    assert merged(None, None) is None


def test_content_outdates_the_cost_and_what_was_written() -> None:
    details = UsageDetails(
        quantities={"input_audio_tokens": 5, "output_audio_tokens": 3}, served_tier="flex", cost_nano_usd=7
    )
    assert outdated(details) == UsageDetails(quantities={"input_audio_tokens": 5}, served_tier="flex")
    assert outdated(UsageDetails(quantities={"output_audio_tokens": 3}, cost_nano_usd=7)) is None
    assert outdated(None) is None
