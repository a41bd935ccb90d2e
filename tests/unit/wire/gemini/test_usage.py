"""Gemini's token counts by modality, and its tiers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from google.genai import types

from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.wire.gemini.contents import WireModality, WireUsage, read_reply
from llm_gateway.wire.gemini.usage import usage_from_wire


def read(**fields: Any) -> Any:
    return usage_from_wire(read_reply(msgspec.json.encode({"usageMetadata": fields})).usage_metadata)


def tokens(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def test_modalities_are_parts_of_the_prompt_the_cache_and_the_answer() -> None:
    found = read(
        promptTokenCount=3297,
        cachedContentTokenCount=2918,
        candidatesTokenCount=55,
        thoughtsTokenCount=95,
        totalTokenCount=3447,
        promptTokensDetails=tokens(TEXT=83, VIDEO=2893, AUDIO=321),
        cacheTokensDetails=tokens(AUDIO=284, TEXT=73, VIDEO=2561),
        candidatesTokensDetails=tokens(TEXT=15, IMAGE=40),
    )
    quantities: dict[str, int | float] = {
        "input_video_tokens": 2893,
        "input_audio_tokens": 321,
        "cache_audio_read_tokens": 284,
        "cache_video_read_tokens": 2561,
        "output_image_tokens": 40,
    }
    assert found == Usage(3297, 150, 3447, 2918, 95, details=UsageDetails(quantities=quantities))


def test_documents_are_images_and_tool_results_are_part_of_the_prompt() -> None:
    found = read(
        promptTokenCount=100,
        toolUsePromptTokenCount=60,
        candidatesTokenCount=5,
        totalTokenCount=165,
        promptTokensDetails=tokens(TEXT=40, DOCUMENT=35, IMAGE=25),
        toolUsePromptTokensDetails=tokens(TEXT=20, IMAGE=40),
    )
    assert found.prompt_tokens == 160
    assert found.details.quantities == {
        "input_tool_tokens": 60,
        "input_image_tokens": 100,
        "input_image_tool_tokens": 40,
    }


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"serviceTier": "flex"}, "flex"),
        ({"serviceTier": "priority", "trafficType": "ON_DEMAND"}, "priority"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
    ],
)
def test_the_tier_is_gemini_apis_or_vertex_ais(fields: dict[str, Any], tier: str) -> None:
    assert read(promptTokenCount=1, candidatesTokenCount=1, **fields).details.served_tier == tier


def test_an_ordinary_reply_has_no_details() -> None:
    found = read(
        promptTokenCount=10,
        candidatesTokenCount=1,
        totalTokenCount=11,
        promptTokensDetails=tokens(TEXT=10),
        candidatesTokensDetails=tokens(TEXT=1),
        serviceTier="standard",
        trafficType="ON_DEMAND",
    )
    assert found == Usage(10, 1, 11)


@pytest.mark.parametrize(
    "odd",
    [None, {}, "a", 5, [None], [[]], [{}], [{"modality": "AUDIO"}], [{"modality": [], "tokenCount": 5}]],
)
def test_odd_details_are_no_details(odd: Any) -> None:
    found = read(promptTokenCount=10, candidatesTokenCount=1, promptTokensDetails=odd, serviceTier=odd)
    assert found.prompt_tokens == 10
    assert found.details is None or found.details.served_tier == "a"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (WireUsage, types.GenerateContentResponseUsageMetadata),
        (WireModality, types.ModalityTokenCount),
    ],
)
def test_the_names_are_those_of_the_official_client(ours: type[msgspec.Struct], theirs: Any) -> None:
    # The client does not have the Gemini API's tier yet; replies do.
    assert set(ours.__struct_fields__) - theirs.model_fields.keys() <= {"service_tier"}
