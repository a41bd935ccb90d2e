"""Token usage as Gemini reports it, in OpenAI's terms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.gemini.contents import Modalities, WireUsage
from llm_gateway.wire.stated_details import Quantities, add_quantity, details_of, tier_of
from llm_gateway.wire.token_counts import OddObject, as_count, stated_usage

# The price book has no unit for documents: Gemini reads their pages as images. Text is what is left.
_MODALITIES: Final[Mapping[object, str]] = MappingProxyType(
    {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
)


def usage_from_wire(wire: WireUsage | OddObject) -> Usage | StatedUsage | None:
    """Return the usage as OpenAI counts it; see `stated_usage`.

    Thoughts count as completion tokens, tool results that the model read as prompt tokens.
    """
    if not isinstance(wire, WireUsage):
        return None
    prompt, answer, total = map(
        as_count, (wire.prompt_token_count, wire.candidates_token_count, wire.total_token_count)
    )
    thoughts = as_count(wire.thoughts_token_count) or 0
    # Thoughts alone do not make up an answer that has text.
    completion = answer + thoughts if answer else None if thoughts else answer
    if prompt is not None:
        prompt += as_count(wire.tool_use_prompt_token_count) or 0
        # Gemini omits zeros, and sometimes `candidatesTokenCount`; it bills by the total.
        if total is not None and total >= prompt:
            completion = max(completion or 0, total - prompt)
    quantities: Quantities = {}
    add_quantity(quantities, "input_tool_tokens", wire.tool_use_prompt_token_count)
    _add_modalities(quantities, wire.prompt_tokens_details, "input_{}_tokens")
    # Tool results are part of the prompt here, and apart from it in Gemini's counts.
    _add_modalities(quantities, wire.tool_use_prompt_tokens_details, "input_{}_tokens")
    _add_modalities(quantities, wire.tool_use_prompt_tokens_details, "input_{}_tool_tokens")
    _add_modalities(quantities, wire.cache_tokens_details, "cache_{}_read_tokens")
    _add_modalities(quantities, wire.candidates_tokens_details, "output_{}_tokens")
    tier = tier_of(wire.service_tier) or tier_of(wire.traffic_type)
    return stated_usage(
        prompt,
        completion,
        total,
        wire.cached_content_token_count,
        thoughts,
        None,
        details_of(quantities, tier),
    )


def _add_modalities(quantities: Quantities, counts: Modalities, unit: str) -> None:
    for one in counts if isinstance(counts, list) else ():
        if type(one.modality) is str and one.modality in _MODALITIES:
            add_quantity(quantities, unit.format(_MODALITIES[one.modality]), one.token_count)
