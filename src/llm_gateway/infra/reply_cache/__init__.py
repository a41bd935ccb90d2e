"""Chooses where replies are kept: in this process, or in a Redis that machines share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.reply_cache.in_process import InProcessReplyCache

if TYPE_CHECKING:
    from llm_gateway.infra.reply_cache.redis_cache import RedisReplyCache


def make_reply_cache(
    *, max_bytes: int, clock: Clock, failed: Callable[[], None], redis_url: str | None = None
) -> InProcessReplyCache | RedisReplyCache:
    """Return the cache: `max_bytes` bounds the one in this process, and a value of either (an eighth of it).

    `failed` is called for each lookup or store that Redis did not do. StartupError when the URL cannot be used.
    """
    if redis_url is None:
        return InProcessReplyCache(max_bytes, clock)
    # A client library that only this choice needs, and a good part of the time to start.
    from llm_gateway.infra.reply_cache.redis_cache import RedisReplyCache  # noqa: PLC0415

    return RedisReplyCache(redis_url, max_bytes, clock, failed)
