"""A few units, as a price book has them."""

from __future__ import annotations

import pytest

from llm_gateway.core.pricing.units import Unit, UnitSet

MILLION = 1_000_000
DIMENSIONS = {
    "input_tokens": "family:tokens direction:input",
    "output_tokens": "family:tokens direction:output",
    "cache_read_tokens": "family:tokens direction:input token_type:cache_read",
    "cache_write_tokens": "family:tokens direction:input token_type:cache_write",
    "cache_write_1h_tokens": "family:tokens direction:input token_type:cache_write cache_ttl:1h",
    "input_audio_tokens": "family:tokens direction:input modality:audio",
    "output_audio_tokens": "family:tokens direction:output modality:audio",
    "cache_audio_read_tokens": "family:tokens direction:input modality:audio token_type:cache_read",
    "output_reasoning_tokens": "family:tokens direction:output token_type:reasoning",
    "input_characters": "family:characters direction:input",
    "audio_seconds": "family:durations modality:audio",
    "input_audio_seconds": "family:durations modality:audio direction:input",
    "web_searches": "family:tool_calls tool_type:web_search",
    "requests": "family:requests",
}
PER = {"audio_seconds": 3600, "input_audio_seconds": 3600, "web_searches": 1000, "requests": 1000}


def make_units() -> UnitSet:
    return UnitSet(
        {
            name: Unit(name, PER.get(name, MILLION), dict(pair.split(":", 1) for pair in dimensions.split()))
            for name, dimensions in DIMENSIONS.items()
        }
    )


@pytest.fixture(scope="session")
def units() -> UnitSet:
    return make_units()
