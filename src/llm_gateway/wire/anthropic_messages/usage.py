"""Token usage as the Messages API reports it: whole, or in a stream at its start and at its end."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.stated_details import Quantities, add_quantity, details_of, tier_of
from llm_gateway.wire.token_counts import OddCount, OddObject, as_count, stated_usage


class OutputDetails(msgspec.Struct, gc=False):
    """`output_tokens_details`."""

    thinking_tokens: int | OddCount = None


class CacheCreation(msgspec.Struct, gc=False):
    """`cache_creation`: the tokens written to the cache, by how long they stay there."""

    ephemeral_5m_input_tokens: int | OddCount = None
    ephemeral_1h_input_tokens: int | OddCount = None


class ServerToolUse(msgspec.Struct, gc=False):
    """`server_tool_use`: of the tools that the provider runs, the one that it charges for."""

    web_search_requests: int | OddCount = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage`; `input_tokens` excludes tokens read from or written to the cache."""

    input_tokens: int | OddCount = None
    output_tokens: int | OddCount = None
    cache_creation_input_tokens: int | OddCount = None
    cache_read_input_tokens: int | OddCount = None
    output_tokens_details: OutputDetails | OddObject = None
    cache_creation: CacheCreation | OddObject = None
    server_tool_use: ServerToolUse | OddObject = None
    service_tier: OddCount = None
    # `fast` has its own prices.
    speed: OddCount = None

    def updated(self, later: WireUsage | OddObject) -> WireUsage:
        """Return the counts, replaced by those that `later` has; they are totals, so that none shrinks to 0."""
        if not isinstance(later, WireUsage):
            return self
        counts: dict[str, Any] = {
            name: value
            for name in _COUNTS
            if as_count(value := getattr(later, name)) or getattr(self, name) is None
        }
        counts |= {name: value for name in _OTHERS if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **counts)

    def outdated(self) -> WireUsage:
        """Return the counts after content that came without one: those of the prompt stay."""
        return msgspec.structs.replace(self, output_tokens=None, output_tokens_details=None)


_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_OTHERS = ("output_tokens_details", "cache_creation", "server_tool_use", "service_tier", "speed")


def usage_from_wire(wire: WireUsage | OddObject) -> Usage | StatedUsage | None:
    """Return the usage, with tokens read from and written to the cache as part of the prompt; see `stated_usage`."""
    if not isinstance(wire, WireUsage):
        return None
    quantities: Quantities = {}
    written = as_count(wire.cache_creation_input_tokens) or 0
    if isinstance(wire.cache_creation, CacheCreation):
        add_quantity(quantities, "cache_write_5m_tokens", wire.cache_creation.ephemeral_5m_input_tokens)
        add_quantity(quantities, "cache_write_1h_tokens", wire.cache_creation.ephemeral_1h_input_tokens)
        if quantities and not written:
            written = int(sum(quantities.values()))
    if isinstance(wire.server_tool_use, ServerToolUse):
        add_quantity(quantities, "web_searches", wire.server_tool_use.web_search_requests)
    prompt, cached = as_count(wire.input_tokens), as_count(wire.cache_read_input_tokens) or 0
    if prompt is not None:
        prompt += written + cached
    details = wire.output_tokens_details
    reasoning = details.thinking_tokens if isinstance(details, OutputDetails) else None
    # The speed has prices of its own; those of the tier are the ordinary ones, or a contract's.
    tier = tier_of(wire.speed) or tier_of(wire.service_tier)
    return stated_usage(
        prompt, wire.output_tokens, None, cached, reasoning, written, details_of(quantities, tier)
    )
