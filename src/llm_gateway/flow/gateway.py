"""The collaborators of a request in one frozen bundle, made once by the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from llm_gateway.flow.ports.catalog import KeyHasher, Snapshots
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import Journal, Observer, TokenCounter
from llm_gateway.flow.ports.limits import Limit
from llm_gateway.flow.ports.upstream import AccessTokens, Upstream
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.providers.base import Adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings that requests read; times in seconds, or milliseconds (`_ms`), sizes in bytes."""

    provider_suffix: str | None = None
    llm_timeout: float = 600.0
    commit_hold: float = 2.0
    max_reply_bytes: int = 64 * 1024 * 1024
    allow_anonymous: bool = False
    # What holds for a model whose RetryRules leave it open.
    max_retries: int = 3
    initial_backoff_ms: int = 1000
    max_backoff_ms: int = 30_000
    backoff_factor: float = 2.0
    jitter: float = 0.1
    # Rules the /api/query surface alone.
    cache_enabled: bool = True
    # What is kept is kept for this long, unless a model or a credential says otherwise.
    cache_ttl: float = 300.0


class Background:
    """Work that outlives its request: held here so that it ends, and so that a shutdown waits for it."""

    def __init__(self) -> None:
        """Start empty."""
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` to its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout: float) -> None:
        """Wait for all of it, `timeout` seconds at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)


@dataclass(slots=True)
class Lifecycle:
    """Whether this process still takes work, and whether it has begun to cut what is open."""

    # Requests in flight in this process.
    open: int = 0
    draining: bool = False
    cutting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that `pipeline.handle` needs."""

    snapshots: Snapshots
    adapters: Mapping[str, Adapter]
    upstream: Upstream
    tokens: AccessTokens
    limit: Limit
    hasher: KeyHasher
    journal: Journal
    observers: tuple[Observer, ...]
    counter: TokenCounter
    clock: Clock
    options: Options
    # None = no reply is ever kept.
    replies: ReplyStore | None = None
    # Waits so many seconds; ends when whoever waits is cancelled.
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    selector: Selector = field(default_factory=Selector)
    background: Background = field(default_factory=Background)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
