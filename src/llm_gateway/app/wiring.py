"""Creates the components of a running gateway from the settings, and defines the order in which they stop."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from llm_gateway.app.storage import Keys, Storage, open_storage
from llm_gateway.flow.accounting.rate_limit import RateLimit
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.config.reloader import Reloader, SnapshotHolder
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.routing.deployment_state import DeploymentState, OnOpen
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.logs.access_log import AccessLog
from llm_gateway.infra.logs.event_log import AttemptLog, ReloadLog, log_opened_breaker
from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.infra.rate_limits import make_rate_limiter
from llm_gateway.infra.reply_cache import make_reply_cache
from llm_gateway.infra.reply_cache.in_process import LARGEST_SHARE
from llm_gateway.infra.token_counting.counter import TiktokenCounter
from llm_gateway.infra.token_counting.vocabularies import Vocabularies
from llm_gateway.infra.upstream.by_proxy import UpstreamByProxy, needs_proxy
from llm_gateway.infra.upstream.by_scheme import UpstreamByScheme
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.infra.upstream.oauth_tokens import OAuthTokens
from llm_gateway.infra.upstream.simulated.upstream import SimulatedUpstream
from llm_gateway.infra.worker_registry import FileWorkerRegistry
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.settings import Settings

# Seconds that each background task gets at shutdown: token counting, then shipping the journal.
_DRAIN_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The components of a running gateway."""

    clock: SystemClock
    storage: Storage
    worker_registry: FileWorkerRegistry
    reloader: Reloader
    metrics: Metrics
    journal: FileJournal
    shipper: Shipper
    access_log: AccessLog
    gateway: Gateway


async def make_wiring(settings: Settings, keys: Keys, stack: AsyncExitStack) -> Wiring:
    """Create and open all components; `stack` closes them in reverse. Raises StartupError, StoreUnavailable."""
    clock = SystemClock()
    storage = await stack.enter_async_context(open_storage(settings, keys, clock))
    worker_registry = FileWorkerRegistry(settings.data_dir / "run", storage.address.shown)
    stack.callback(worker_registry.close)
    upstream = _upstream(settings)
    stack.push_async_callback(upstream.close)
    tokens = OAuthTokens(upstream, clock)
    stack.push_async_callback(tokens.close)
    counter = TiktokenCounter(Vocabularies(settings.data_dir / "vocabularies", settings.tiktoken_cache_dir))
    stack.callback(counter.close)
    limiter = make_rate_limiter(
        workers=settings.workers,
        directory=settings.data_dir / "run",
        namespace=storage.address.shown,
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
        fail=settings.limits_fail,
    )
    stack.push_async_callback(limiter.close)
    access_log = AccessLog(settings.access_log, clock)
    stack.push_async_callback(access_log.close)
    shipper = Shipper(settings.data_dir / "journal", storage.usage, clock)
    stack.push_async_callback(shipper.drain, _DRAIN_TIMEOUT)
    journal = FileJournal(settings.data_dir / "journal", settings.journal_max_bytes, clock)
    stack.callback(journal.close)
    holder = SnapshotHolder()
    metrics = Metrics(lambda model: holder.current is not None and holder.current.names(model))
    cache = make_reply_cache(
        max_bytes=settings.cache_max_bytes,
        clock=clock,
        failed=metrics.cache_failed,
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
    )
    stack.push_async_callback(cache.close)
    gateway = Gateway(
        snapshots=holder,
        adapters=ADAPTERS,
        upstream=upstream,
        tokens=tokens,
        limit=all_of(RateLimit(limiter)),
        hasher=storage.hasher,
        journal=journal,
        observers=(metrics, access_log, AttemptLog()),
        counter=counter,
        clock=clock,
        options=_options(settings),
        replies=ReplyStore(
            cache,
            # Unique to this database: credentials of another one have the same ids.
            namespace=storage.hasher.hash("reply cache"),
            largest=settings.cache_max_bytes // LARGEST_SHARE,
            count=metrics.cache_answered,
        ),
        selector=Selector(on_open=_breaker_listener(metrics)),
    )
    # Closed first: token counts of background tasks must reach the journal.
    stack.push_async_callback(gateway.background.drain, _DRAIN_TIMEOUT)
    reloader = Reloader(
        holder=holder,
        source=storage.catalog,
        kinds=KINDS,
        worker_registry=worker_registry,
        last_good=storage.last_good,
        clock=clock,
        listener=ReloadLog(),
    )
    stack.push_async_callback(reloader.close)
    return Wiring(
        clock=clock,
        storage=storage,
        worker_registry=worker_registry,
        reloader=reloader,
        metrics=metrics,
        journal=journal,
        shipper=shipper,
        access_log=access_log,
        gateway=gateway,
    )


def _breaker_listener(metrics: Metrics) -> OnOpen:
    def on_open(state: DeploymentState, seconds: float) -> None:
        metrics.breaker_opened(state.provider_key)
        log_opened_breaker(state.provider_key, state.upstream_model, seconds)

    return on_open


def _upstream(settings: Settings) -> Upstream:
    """Return the transport. The pool supports no proxy, so requests that need one use aiohttp."""
    simulated = SimulatedUpstream()
    pool = PooledUpstream(
        connect_timeout=settings.connect_timeout, allow_private=settings.allow_private_upstreams
    )
    if settings.upstream_transport == "pool" and not needs_proxy(os.environ):
        return UpstreamByScheme(http=pool, simulated=simulated)
    # Imported on demand: it takes a sixth of the startup time and 8 MB.
    from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream  # noqa: PLC0415

    other = AiohttpUpstream(
        connect_timeout=settings.connect_timeout, allow_private=settings.allow_private_upstreams
    )
    if settings.upstream_transport == "aiohttp":
        return UpstreamByScheme(http=other, simulated=simulated)
    chosen = UpstreamByProxy(direct=pool, proxied=other, environ=os.environ)
    return UpstreamByScheme(http=chosen, simulated=simulated)


def _options(settings: Settings) -> Options:
    return Options(
        provider_suffix=settings.provider_suffix,
        llm_timeout=settings.llm_timeout,
        commit_hold=settings.commit_hold,
        max_reply_bytes=settings.max_reply_bytes,
        allow_anonymous=settings.allow_anonymous,
        max_retries=settings.max_retries,
        initial_backoff_ms=settings.initial_backoff,
        max_backoff_ms=settings.max_backoff,
        backoff_factor=settings.backoff_factor,
        jitter=settings.jitter,
        cache_enabled=settings.cache_enabled,
        cache_ttl=settings.cache_ttl,
    )
