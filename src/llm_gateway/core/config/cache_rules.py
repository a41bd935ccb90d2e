"""Caching rules that models and credentials share."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

# Seconds; an upper bound, so that a typing error does not overflow a timer.
LONGEST_TTL = 31_536_000.0


class CacheRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exact-match caching of replies; `ttl` in seconds, None = the gateway's setting."""

    is_enabled: bool = True
    ttl: float | None = None
    # One cache for all credentials instead of one for each.
    is_shared: bool = False


def cache_faults(cache: CacheRules | None) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for each invalid value."""
    if cache is not None and cache.ttl is not None and not 0 < cache.ttl <= LONGEST_TTL:
        yield "cache.ttl", f"cache.ttl must be more than 0 and at most {LONGEST_TTL:.0f} seconds, or null"
