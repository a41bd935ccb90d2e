"""Opens connection pools to Redis, with the timeouts and the start error that all its users share."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llm_gateway.infra.startup_error import StartupError

# How long a request waits for Redis, and each step of an exchange with it.
WAIT_SECONDS = 0.25
# After a failure, one request in this time tries Redis again; the others do without it.
PAUSE_SECONDS = 1.0


def open_redis_pool(url: str, *, wait_seconds: float, max_connections: int | None = None) -> ConnectionPool:
    """Return a pool that connects on first use; raise StartupError when `url` is not a Redis URL.

    Connecting, and each read and write, takes at most `wait_seconds`. With `max_connections`, a command waits
    as long for a free connection.
    """
    try:
        # No retry: a command that may have been executed must not be executed twice.
        retry = Retry(NoBackoff(), 0)
        if max_connections is None:
            return ConnectionPool.from_url(
                url, socket_timeout=wait_seconds, socket_connect_timeout=wait_seconds, retry=retry
            )
        return BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=wait_seconds,
            socket_timeout=wait_seconds,
            socket_connect_timeout=wait_seconds,
            retry=retry,
        )
    except (ValueError, TypeError):
        # The message may contain the URL, and thereby a password.
        raise StartupError(
            "REDIS_URL is not a Redis URL; use redis://[:password@]host:6379/0, rediss://... or unix:///path."
        ) from None
