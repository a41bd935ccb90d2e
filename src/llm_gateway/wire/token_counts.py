"""Judges the token counts that a provider states: each number by itself, and the total as a witness."""

from __future__ import annotations

import re
from typing import Any, Final

from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.core.ledger.usage_parts import merged, outdated, whole_usage

# A larger count cannot be right: it is more than a request of any size can hold or a model can write.
MAX_COUNT: Final = 10**9
# Besides whole numbers: what providers send in their place. It keeps an odd value from making a reply unreadable.
OddCount = float | str | bool | list[Any] | dict[str, Any] | None
# What some send in place of an object.
OddObject = float | str | bool | list[Any] | None
# Protobuf's JSON writes 64-bit numbers as strings.
_NUMERAL = re.compile(r"\s*(\d{1,15})(?:\.0*)?\s*", re.ASCII)


def as_count(value: object) -> int | None:
    """Return a token count: of a whole number in any notation; None for what is missing or impossible."""
    if type(value) is int:
        count = value
    elif type(value) is float and value.is_integer():
        count = int(value)
    elif type(value) is str and (found := _NUMERAL.fullmatch(value)):
        count = int(found[1])
    else:
        return None
    return count if 0 <= count <= MAX_COUNT else None


def stated_usage(
    prompt: object,
    completion: object,
    total: object,
    cached: object = None,
    reasoning: object = None,
    cache_write: object = None,
    details: UsageDetails | None = None,
) -> Usage | StatedUsage | None:
    """Return what a provider states: whole, in part, or None for nothing.

    The total tells one count from the other, and which parts are not included in them: xAI's completion tokens lack
    the reasoning, and some servers' prompt tokens lack those from the cache. A smaller total is not believed, nor
    is a part that is more than the whole, nor are tokens written to the cache that the tokens read from it leave no
    room for.
    """
    prompt_tokens, completion_tokens, total_tokens = as_count(prompt), as_count(completion), as_count(total)
    cached_tokens, reasoning_tokens = as_count(cached) or 0, as_count(reasoning) or 0
    written_tokens = as_count(cache_write) or 0
    rest = (total_tokens or 0) - (prompt_tokens or 0) - (completion_tokens or 0)
    if rest > 0:
        if prompt_tokens and (not completion_tokens or rest == reasoning_tokens):
            completion_tokens = (completion_tokens or 0) + rest
        elif completion_tokens and (
            not prompt_tokens or rest in {cached_tokens, cached_tokens + written_tokens}
        ):
            prompt_tokens = (prompt_tokens or 0) + rest
    if prompt_tokens and completion_tokens:
        total_tokens = max(total_tokens or 0, prompt_tokens + completion_tokens)
        usage = Usage(
            prompt_tokens,
            completion_tokens,
            total_tokens,
            cached_tokens,
            reasoning_tokens,
            "provider",
            written_tokens,
            details,
        )
        if details is None and (
            cached_tokens + written_tokens <= prompt_tokens and reasoning_tokens <= completion_tokens
        ):
            return usage
        return whole_usage(usage)
    known = total_tokens or cached_tokens or reasoning_tokens or written_tokens
    if prompt_tokens is None and completion_tokens is None and not known and details is None:
        return None
    return StatedUsage(
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_tokens,
        reasoning_tokens,
        written_tokens,
        details,
    )


def updated(
    before: Usage | StatedUsage | None, now: Usage | StatedUsage | None, *, has_content: bool
) -> Usage | StatedUsage | None:
    """Return a stream's usage after an event that states `now`, where what it states replaces all but by zeros.

    A statement includes the content of its own event. It is out of date, except for the prompt, once an event
    `has_content` and does not state the completion again.
    """
    if before is None:
        return now
    if has_content:
        before = StatedUsage(
            before.prompt_tokens,
            None,
            None,
            before.cached_tokens,
            before.reasoning_tokens,
            before.cache_write_tokens,
            outdated(before.details),
        )
    if now is None:
        return before
    return stated_usage(
        _newer(now.prompt_tokens, before.prompt_tokens),
        _newer(now.completion_tokens, before.completion_tokens),
        now.total_tokens,
        now.cached_tokens or before.cached_tokens,
        now.reasoning_tokens or before.reasoning_tokens,
        now.cache_write_tokens or before.cache_write_tokens,
        merged(before.details, now.details),
    )


def _newer(now: int | None, before: int | None) -> int | None:
    return now if now or before is None else before
