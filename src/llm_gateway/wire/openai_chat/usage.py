"""Token usage as OpenAI and compatible servers report it; other fields of a reply may have any type."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.stated_costs import CostReader, member
from llm_gateway.wire.stated_details import SERVICE_TIER, Quantities, add_quantity, details_of, tier_of
from llm_gateway.wire.token_counts import MAX_COUNT, OddCount, OddObject, stated_usage


class PromptDetails(msgspec.Struct, gc=False):
    """`prompt_tokens_details`, and `input_tokens_details` of the Responses API; all are parts of the prompt."""

    cached_tokens: int | OddCount = None
    audio_tokens: int | OddCount = None
    image_tokens: int | OddCount = None
    # Written to the cache. The second name is that of other gateways.
    cache_write_tokens: int | OddCount = None
    cache_creation_tokens: int | OddCount = None


class CompletionDetails(msgspec.Struct, gc=False):
    """`completion_tokens_details`, and `output_tokens_details` of the Responses API."""

    reasoning_tokens: int | OddCount = None
    audio_tokens: int | OddCount = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage` of OpenAI and compatible servers."""

    prompt_tokens: int | OddCount = None
    completion_tokens: int | OddCount = None
    total_tokens: int | OddCount = None
    prompt_tokens_details: PromptDetails | OddObject = None
    completion_tokens_details: CompletionDetails | OddObject = None
    # DeepSeek's name for cached prompt tokens.
    prompt_cache_hit_tokens: int | OddCount = None


class BilledPromptDetails(PromptDetails, gc=False):
    """`prompt_tokens_details` of providers that state a cost, with OpenRouter's and Perplexity's own names."""

    video_tokens: int | OddCount = None
    cache_read_input_tokens: int | OddCount = None
    cache_creation_input_tokens: int | OddCount = None


class BilledCompletionDetails(CompletionDetails, gc=False):
    """`completion_tokens_details` of providers that state a cost."""

    image_tokens: int | OddCount = None


class BilledUsage(WireUsage, gc=False):
    """`usage` of providers that state a cost; see `stated_costs.CostFields`.

    A decoder with `float_hook=Decimal` reads costs exactly.
    """

    prompt_tokens_details: BilledPromptDetails | OddObject = None
    completion_tokens_details: BilledCompletionDetails | OddObject = None
    cost: Any = None
    cost_details: Any = None
    is_byok: Any = None
    cost_in_usd_ticks: Any = None
    # OpenRouter's: what the tools that it runs did.
    server_tool_use: Any = None


def usage_from_wire(
    wire: WireUsage | OddObject,
    service_tier: OddCount = None,
    read_cost: CostReader | None = None,
    asked: Container[str] = (),
) -> Usage | StatedUsage | None:
    """Return the usage; what is missing, impossible or zero makes it a StatedUsage, and None if nothing is stated.

    `service_tier` is the reply's; `read_cost` reads the cost that a provider states in its usage; `asked` are the
    fields of the request.
    """
    if wire is None:
        return None
    if type(wire) is WireUsage and (
        service_tier is None or (service_tier == "default" and SERVICE_TIER not in asked)
    ):
        prompt, completion = wire.prompt_tokens, wire.completion_tokens
        if type(prompt) is type(completion) is int:
            known = prompt + completion
            if 0 < prompt < known == wire.total_tokens and known <= MAX_COUNT:
                # Nearly every reply. By position, which is several times as fast as by name.
                read, written = wire.prompt_tokens_details, wire.completion_tokens_details
                if read is written is wire.prompt_cache_hit_tokens:
                    return Usage(prompt, completion, known)
                if (
                    type(read) is PromptDetails
                    and type(written) is CompletionDetails
                    and not (
                        read.audio_tokens
                        or written.audio_tokens
                        or read.cache_write_tokens
                        or read.image_tokens
                        or read.cache_creation_tokens
                    )
                ):
                    cached = read.cached_tokens or wire.prompt_cache_hit_tokens or 0
                    reasoning = written.reasoning_tokens or 0
                    if type(cached) is type(reasoning) is int and (
                        0 <= cached <= prompt and 0 <= reasoning <= completion
                    ):
                        return Usage(prompt, completion, known, cached, reasoning)
    if not isinstance(wire, WireUsage):
        return None
    cost, searches = None, None
    if isinstance(wire, BilledUsage):
        cost = None if read_cost is None else read_cost(wire)
        searches = member(wire.server_tool_use, "web_search_requests")
    return judged(
        (wire.prompt_tokens, wire.completion_tokens, wire.total_tokens),
        wire.prompt_tokens_details,
        wire.completion_tokens_details,
        tier_of(service_tier, asked),
        cost,
        cached=wire.prompt_cache_hit_tokens,
        searches=searches,
    )


def judged(
    counts: tuple[object, object, object],
    prompt_details: PromptDetails | OddObject,
    completion_details: CompletionDetails | OddObject,
    served_tier: str | None,
    cost_nano_usd: int | None,
    *,
    cached: object = None,
    searches: object = None,
) -> Usage | StatedUsage | None:
    """Return the usage of all that is stated; `counts` are those of prompt, completion and total.

    `cached` counts if the details have none. `searches` is how often the web was searched.
    """
    quantities: Quantities = {}
    reasoning: object = None
    written: object = None
    if isinstance(prompt_details, PromptDetails):
        cached = prompt_details.cached_tokens or cached
        written = prompt_details.cache_write_tokens or prompt_details.cache_creation_tokens
        if prompt_details.audio_tokens:
            add_quantity(quantities, "input_audio_tokens", prompt_details.audio_tokens)
        if prompt_details.image_tokens:
            add_quantity(quantities, "input_image_tokens", prompt_details.image_tokens)
        if isinstance(prompt_details, BilledPromptDetails):
            cached = cached or prompt_details.cache_read_input_tokens
            written = written or prompt_details.cache_creation_input_tokens
            add_quantity(quantities, "input_video_tokens", prompt_details.video_tokens)
    if isinstance(completion_details, CompletionDetails):
        reasoning = completion_details.reasoning_tokens
        if completion_details.audio_tokens:
            add_quantity(quantities, "output_audio_tokens", completion_details.audio_tokens)
        if isinstance(completion_details, BilledCompletionDetails):
            add_quantity(quantities, "output_image_tokens", completion_details.image_tokens)
    if searches:
        add_quantity(quantities, "web_searches", searches)
    details = details_of(quantities, served_tier, cost_nano_usd)
    return stated_usage(*counts, cached, reasoning, written, details)
