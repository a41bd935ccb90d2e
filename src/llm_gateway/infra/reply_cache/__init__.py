"""The reply cache: in this process, or in a Redis that machines share."""

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
    """Return the cache. `max_bytes` bounds the one in this process; a value of either is at most an eighth of it.

    `failed` is called for each lookup and store that Redis did not perform. Raises StartupError when the URL
    cannot be used.
    """
    if redis_url is None:
        return InProcessReplyCache(max_bytes, clock)
    # Imported late: a client library that only Redis needs, and a good part of the start time.
    from llm_gateway.infra.reply_cache.redis_cache import RedisReplyCache  # noqa: PLC0415

    return RedisReplyCache(redis_url, max_bytes, clock, failed)
