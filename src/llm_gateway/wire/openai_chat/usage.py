"""Token usage as OpenAI and compatible servers report it; other fields of a reply may have any type."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.usage import Usage

# A larger count cannot be right and is not used.
_MAX_COUNT = 2**40


class PromptDetails(msgspec.Struct, gc=False):
    """`prompt_tokens_details`."""

    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """`completion_tokens_details`."""

    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage` of OpenAI and compatible servers."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    # DeepSeek's name for cached prompt tokens.
    prompt_cache_hit_tokens: int | None = None


def usage_from_wire(wire: WireUsage | None) -> Usage | None:
    """Return the usage, or None if the counts are missing or implausible."""
    if wire is None:
        return None
    prompt, completion, total = wire.prompt_tokens, wire.completion_tokens, wire.total_tokens
    if prompt is None and completion is None:
        return None
    prompt = prompt or 0
    completion = completion or 0
    if not (0 <= prompt <= _MAX_COUNT and 0 <= completion <= _MAX_COUNT and 0 <= (total or 0) <= _MAX_COUNT):
        return None
    cached = reasoning = 0
    hit, details = wire.prompt_cache_hit_tokens, wire.prompt_tokens_details
    if hit is not None or details is not None:
        cached = (details.cached_tokens if details is not None else None) or hit or 0
        cached = min(max(cached, 0), prompt)
    if wire.completion_tokens_details is not None:
        reasoning = min(max(wire.completion_tokens_details.reasoning_tokens or 0, 0), completion)
    # By position, which is several times as fast as by name.
    return Usage(prompt, completion, prompt + completion if total is None else total, cached, reasoning)
