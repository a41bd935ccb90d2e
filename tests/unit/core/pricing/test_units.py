"""Units contain one another by their dimensions."""

from __future__ import annotations

from llm_gateway.core.pricing.units import UnitSet


def test_a_unit_contains_what_has_its_dimensions_and_more(units: UnitSet) -> None:
    assert units.containers["cache_write_1h_tokens"] == {"input_tokens", "cache_write_tokens"}
    assert units.parts["output_tokens"] == {"output_audio_tokens", "output_reasoning_tokens"}
    assert units.containers["input_tokens"] == frozenset()


def test_cached_audio_is_the_intersection_of_cached_input_and_audio_input(units: UnitSet) -> None:
    assert units.intersection("cache_read_tokens", "input_audio_tokens") == "cache_audio_read_tokens"
    assert units.intersections["cache_audio_read_tokens"] == (("cache_read_tokens", "input_audio_tokens"),)
    assert units.intersection("cache_write_tokens", "input_audio_tokens") is None


def test_input_and_output_exclude_each_other(units: UnitSet) -> None:
    assert units["input_tokens"].excludes(units["output_tokens"])
    assert not units["input_audio_tokens"].excludes(units["cache_read_tokens"])


def test_only_tools_and_requests_are_optional(units: UnitSet) -> None:
    assert {name for name in units if units[name].is_optional} == {"web_searches", "requests"}


def test_audio_that_is_not_counted_in_tokens_is_none(units: UnitSet) -> None:
    assert units["input_audio_tokens"].is_audio_tokens
    assert not units["audio_seconds"].is_audio_tokens
