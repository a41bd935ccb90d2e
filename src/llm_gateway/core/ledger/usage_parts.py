"""Checks that the parts of a usage, such as audio tokens, fit into what contains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from llm_gateway.core.ledger.usage import Usage, UsageDetails

_MODALITIES: Final = ("text", "audio", "image", "video")
# What contains what, outermost first, by the price book's units: nothing is counted by two parts of one line.
_LINES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("input_tokens", tuple(f"input_{modality}_tokens" for modality in _MODALITIES)),
    ("input_tokens", ("cache_read_tokens", "cache_write_tokens", "input_tool_tokens")),
    ("output_tokens", tuple(f"output_{modality}_tokens" for modality in _MODALITIES)),
    ("output_tokens", ("output_reasoning_tokens", "output_citation_tokens")),
    ("cache_read_tokens", tuple(f"cache_{modality}_read_tokens" for modality in _MODALITIES)),
    ("cache_write_tokens", ("cache_write_5m_tokens", "cache_write_1h_tokens")),
    ("input_tool_tokens", tuple(f"input_{modality}_tool_tokens" for modality in _MODALITIES)),
    *(
        (
            f"input_{modality}_tokens",
            (f"cache_{modality}_read_tokens", f"input_{modality}_tool_tokens"),
        )
        for modality in _MODALITIES
        # No provider states text: it is what the other modalities leave.
        if modality != "text"
    ),
)
_OUTPUT: Final = "output_"
# They cost several times as much as text, so what is stated of them is cut to the whole instead of left out.
_AUDIO: Final = {"input_audio_tokens": "input_tokens", "output_audio_tokens": "output_tokens"}


def whole_usage(usage: Usage) -> Usage:
    """Return a usage whose parts fit: none is more than the whole, and what cannot be right is left out."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    reasoning = min(usage.reasoning_tokens, usage.completion_tokens)
    written = usage.cache_write_tokens if cached + usage.cache_write_tokens <= usage.prompt_tokens else 0
    details = usage.details
    if details is not None:
        counts = {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "cache_read_tokens": cached,
            "cache_write_tokens": written,
            "output_reasoning_tokens": reasoning,
        }
        details = _fitting(details, counts)
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        cached,
        reasoning,
        usage.source,
        written,
        details,
    )


def _fitting(details: UsageDetails, counts: Mapping[str, int]) -> UsageDetails | None:
    """Return `details` without the quantities that are more than what contains them; None if nothing is left.

    As many audio tokens are left as there may be: without any, audio would be billed as text. `counts` are the
    usage's own: `input_tokens`, `output_tokens` and their parts.
    """
    if not details.quantities:
        return details
    amounts = {**details.quantities, **counts}
    for unit, whole in _AUDIO.items():
        if unit in amounts:
            amounts[unit] = min(amounts[unit], counts[whole])
    for whole, parts in _LINES:
        if sum(amounts.get(part, 0) for part in parts) > amounts.get(whole, 0):
            for part in parts:
                if part not in counts and part not in _AUDIO:
                    amounts.pop(part, None)
    quantities = {name: amounts[name] for name in details.quantities if amounts.get(name)}
    if not quantities and details.served_tier is None and details.cost_nano_usd is None:
        return None
    return msgspec.structs.replace(details, quantities=quantities)


def merged(before: UsageDetails | None, now: UsageDetails | None) -> UsageDetails | None:
    """Return what a provider stated `before`, replaced by what it states `now`."""
    if before is None or now is None:
        return before if now is None else now
    return UsageDetails(
        quantities={**before.quantities, **now.quantities},
        served_tier=now.served_tier or before.served_tier,
        cost_nano_usd=before.cost_nano_usd if now.cost_nano_usd is None else now.cost_nano_usd,
    )


def outdated(details: UsageDetails | None) -> UsageDetails | None:
    """Return the details that stay true when more of the answer follows: what was read, and the tier."""
    if details is None:
        return None
    read = {name: amount for name, amount in details.quantities.items() if not name.startswith(_OUTPUT)}
    return (
        UsageDetails(quantities=read, served_tier=details.served_tier)
        if read or details.served_tier
        else None
    )
