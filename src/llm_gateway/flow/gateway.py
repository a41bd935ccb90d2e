"""What every request needs: ports, options and shared state in one frozen object, built once at startup."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from llm_gateway.core.json_bounds import LARGE
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.heavy_work import LARGE_BODY, HeavyWork
from llm_gateway.flow.ports.catalog import KeyHasher, Snapshots
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import Journal, Observer, RefusalLog, TokenCounter, Tracer
from llm_gateway.flow.ports.limits import Limit
from llm_gateway.flow.ports.upstream import AccessTokens, Upstream
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.flow.served_requests import ServedRequests
from llm_gateway.providers.base import Adapter

# Bytes of the shortest top-level field: `"a":1,`.
_SMALLEST_FIELD = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Options:
    """Settings that the request flow reads. Times are in seconds, or in milliseconds (`_ms`); sizes in bytes."""

    provider_suffix: str | None = None
    llm_timeout: float = 600.0
    commit_hold: float = 2.0
    max_reply_bytes: int = 64 * 1024 * 1024
    # Top-level fields of a request; values in a large body (see `check_body_bounds`).
    max_body_fields: int = 1000
    max_body_values: int = 100_000
    # A smaller body cannot have more fields than the bound, and needs no check.
    small_body: int = field(init=False)
    # The largest reply that is small enough to be decoded at once.
    small_reply: int = field(init=False)
    max_event_bytes: int = 16 * 1024 * 1024
    allow_anonymous: bool = False
    # Whether ids of stored responses are valid for the credential alone that made them.
    binds_response_ids: bool = True
    # Whether `limit` may apply to an account that has no limits of its own: to the callers of a surface.
    limits_every_caller: bool = False
    # Whether a request whose model is refused, or not found, must still be within the limits.
    limits_before_routing: bool = False
    # Defaults for models whose RetryRules do not set these.
    max_retries: int = 3
    # Most attempts of a request in all, whatever `max_retries` and the number of deployments; None = no such bound.
    max_attempts: int | None = None
    initial_backoff_ms: int = 1000
    max_backoff_ms: int = 30_000
    backoff_factor: float = 2.0
    jitter: float = 0.1
    # Affects only the /api/query surface.
    cache_enabled: bool = True
    # How long a reply stays cached, unless the cache rules of the model or the credential set a time.
    cache_ttl: float = 300.0

    def __post_init__(self) -> None:
        """Derive `small_body` and `small_reply`."""
        object.__setattr__(self, "small_reply", min(self.max_reply_bytes, LARGE - 1))
        object.__setattr__(self, "small_body", min(_SMALLEST_FIELD * self.max_body_fields, LARGE_BODY))


class Background:
    """Tasks that outlive their request. Holding references keeps them alive; shutdown waits for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for all tasks."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)


@dataclass(slots=True, eq=False)
class Lifecycle:
    """The shutdown state of this process: `draining` takes no new requests, `cutting` ends the open ones."""

    # Requests in flight in this process.
    open: int = 0
    draining: bool = False
    cutting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Gateway:
    """Everything that `pipeline.handle` needs."""

    snapshots: Snapshots
    adapters: Mapping[str, Adapter]
    upstream: Upstream
    tokens: AccessTokens
    limit: Limit
    hasher: KeyHasher
    journal: Journal
    refusals: RefusalLog
    observers: tuple[Observer, ...]
    counter: TokenCounter
    clock: Clock
    options: Options
    # None = replies are not cached.
    replies: ReplyStore | None = None
    # None = requests are not traced.
    tracer: Tracer | None = None
    # Waits the given number of seconds.
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    selector: Selector = field(default_factory=Selector)
    background: Background = field(default_factory=Background)
    heavy_work: HeavyWork = field(default_factory=HeavyWork)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    # The methods of `observers`, which every request calls.
    finished: tuple[Callable[[UsageRecord], None], ...] = field(init=False)
    # The requests of which the observers are told later, by their other method.
    served: ServedRequests = field(init=False)

    def __post_init__(self) -> None:
        """Derive `finished` and `served`."""
        told = [one for one in self.observers if type(one).finished is not Observer.finished]
        object.__setattr__(self, "finished", tuple(one.finished for one in told))
        object.__setattr__(self, "served", ServedRequests(tuple(one.served for one in told), self.journal))
