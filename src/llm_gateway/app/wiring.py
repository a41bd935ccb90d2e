"""Creates the components of a running gateway from the settings, and defines the order in which they stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from llm_gateway.app.budgets import Budgets, budget_webhook, open_budgets
from llm_gateway.app.data_folder import JOURNAL, OtherJournals
from llm_gateway.app.keys import Keys
from llm_gateway.app.log_levels import SharedLogLevelSwitch
from llm_gateway.app.provider_kinds import provider_adapters, provider_kinds
from llm_gateway.app.storage import Storage, open_storage
from llm_gateway.app.tracing import trace
from llm_gateway.core.secret import Secret
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.rate_limit import RateLimit
from llm_gateway.flow.accounting.refusals import Refusals
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.accounting.use_limit import AccountsOf, UseLimits
from llm_gateway.flow.config.reloader import Reloader, SnapshotHolder
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.ports.limits import Limit
from llm_gateway.flow.ports.sessions import Role
from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.flow.ports.use_limits import UseStore
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.routing.deployment_state import DeploymentState, OnOpen
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.flow.sessions import Sessions
from llm_gateway.infra.budgets.webhook import BudgetWebhook
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.csv_copy import CsvCopy
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.syncing import JournalSync
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.logs.access_log import AccessLog
from llm_gateway.infra.logs.event_log import AttemptLog, ReloadLog, log_opened_breaker
from llm_gateway.infra.logs.setup import process_log
from llm_gateway.infra.metrics.deployments import OwnDeploymentState, SharedDeploymentStates
from llm_gateway.infra.metrics.prometheus import Metrics, shared_directory
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.rate_limits import make_rate_limiter
from llm_gateway.infra.reply_cache import make_reply_cache
from llm_gateway.infra.reply_cache.in_process import LARGEST_SHARE
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.token_counting.counter import TiktokenCounter
from llm_gateway.infra.token_counting.vocabularies import Vocabularies
from llm_gateway.infra.upstream.by_proxy import UpstreamByProxy
from llm_gateway.infra.upstream.by_scheme import UpstreamByScheme
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.infra.upstream.oauth_tokens import OAuthTokens
from llm_gateway.infra.upstream.proxies import InvalidProxy, ProxySettings
from llm_gateway.infra.upstream.simulated.upstream import SimulatedUpstream
from llm_gateway.infra.use_limits import make_use_store
from llm_gateway.infra.use_limits.shared import SharedUseStore
from llm_gateway.infra.worker_registry import FileWorkerRegistry
from llm_gateway.settings import Settings
from llm_gateway.sockets.write_batch import WriteBatch, make_write_batch

if TYPE_CHECKING:
    from llm_gateway.infra.use_limits.redis_store import RedisUseStore

# Seconds that each background task gets at shutdown: token counting, then shipping the journal.
_DRAIN_TIMEOUT = 5.0
# Seconds, unless LLM_TIMEOUT says otherwise.
_LLM_TIMEOUT = 600.0


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """The components of a running gateway."""

    clock: SystemClock
    storage: Storage
    worker_registry: FileWorkerRegistry
    reloader: Reloader
    metrics: Metrics
    deployment_states: SharedDeploymentStates
    journal: FileJournal
    shipper: Shipper
    budgets: Budgets
    budget_webhook: BudgetWebhook | None
    other_journals: OtherJournals
    access_log: AccessLog
    use_store: SharedUseStore | RedisUseStore
    limit_callers: Callable[[AccountsOf], Limit]
    sessions: Sessions
    gateway: Gateway
    pool: PooledUpstream
    log_level: SharedLogLevelSwitch
    journal_max_bytes: int
    time_zone: str


async def make_wiring(
    settings: Settings, keys: Keys, stack: AsyncExitStack, batch: WriteBatch | None = None
) -> Wiring:
    """Create and open all components; `stack` closes them in reverse. Raises StartupError, StoreUnavailable.

    `batch` is the server's, if it writes to clients in one.
    """
    clock = SystemClock()
    storage = await stack.enter_async_context(open_storage(settings, keys, clock))
    worker_registry = FileWorkerRegistry(settings.data_dir / "run", storage.namespace)
    stack.callback(worker_registry.close)
    reaches_clients, batch = batch is not None, batch or make_write_batch()
    pool = PooledUpstream(
        connect_timeout=settings.connect_timeout,
        allow_private=settings.allow_private_upstreams,
        batch=batch,
    )
    upstream = _upstream(settings, pool)
    stack.push_async_callback(upstream.close)
    tokens = OAuthTokens(upstream, clock)
    stack.push_async_callback(tokens.close)
    counter = TiktokenCounter(Vocabularies(settings.data_dir / "vocabularies", settings.tiktoken_cache_dir))
    stack.callback(counter.close)
    limiter = make_rate_limiter(
        workers=settings.workers,
        directory=settings.data_dir / "run",
        namespace=storage.namespace,
        redis_url=settings.redis_url.reveal() if settings.redis_url else None,
        fail=settings.limits_fail,
    )
    stack.push_async_callback(limiter.close)
    use_store = make_use_store(
        directory=settings.data_dir / "run",
        namespace=storage.namespace,
        zone=settings.zone,
        redis_url=settings.redis_url.reveal() if settings.redis_url else None,
        fail=settings.limits_fail,
    )
    stack.push_async_callback(use_store.close)
    access_log = AccessLog(settings.access_log, clock)
    stack.push_async_callback(access_log.close)
    is_synced = settings.usage_fsync != "never"
    shipper = Shipper(
        storage.folder / JOURNAL,
        storage.usage,
        clock,
        is_synced=is_synced,
        backup=storage.usage_backup,
        others=storage.usage_of_others,
        csv_copy=_csv_copy(settings, storage),
    )
    holder = SnapshotHolder()
    estimator = TokenEstimator(settings.default_output_tokens)
    metrics = Metrics(
        lambda model: holder.current is not None and holder.current.names(model),
        lambda: _enabled_providers(holder),
        lambda model: holder.current is not None and holder.current.serves(model),
        lambda: _tenants(holder),
    )
    # Closed after the shipper: what is left of the budgets' shares is known then.
    budgets = open_budgets(
        settings, storage, clock, holder, estimator, shipper.flush, metrics.limit_refused, stack
    )
    stack.push_async_callback(shipper.drain, _DRAIN_TIMEOUT)
    journal = FileJournal(
        storage.folder / JOURNAL,
        settings.journal_max_bytes,
        clock,
        sync=JournalSync() if is_synced else None,
        syncs_ends=settings.usage_fsync == "always",
        batch=batch,
        reaches_clients=reaches_clients,
        call_later=asyncio.get_running_loop().call_later,
    )
    shipper.write_waiting = journal.write_waiting
    stack.callback(journal.close)
    refusals = Refusals(journal)
    stack.callback(refusals.flush)
    cache = make_reply_cache(
        max_bytes=settings.cache_max_bytes,
        clock=clock,
        failed=metrics.cache_failed,
        redis_url=settings.redis_url.reveal() if settings.redis_url else None,
    )
    stack.push_async_callback(cache.close)
    traced = trace(settings, journal, stack)
    gateway = Gateway(
        snapshots=holder,
        adapters=provider_adapters(),
        upstream=upstream,
        tokens=tokens,
        limit=all_of(
            RateLimit(limiter),
            UseLimits(use_store, estimator, metrics.limit_refused),
            budgets.limit,
        ),
        hasher=storage.hasher,
        journal=traced.journal,
        refusals=refusals,
        observers=(metrics, access_log, AttemptLog(), *traced.observers),
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
        tracer=traced.tracer,
        selector=Selector(on_open=_breaker_listener(metrics)),
    )
    # The access log takes what it is told of until it is closed.
    stack.callback(gateway.served.tell)
    # Closed first: token counts of background tasks must reach the journal.
    stack.push_async_callback(gateway.background.drain, _DRAIN_TIMEOUT)

    def limit_callers(accounts_of: AccountsOf) -> Limit:
        return UseLimits(use_store, estimator, metrics.limit_refused, accounts_of)

    reloader = Reloader(
        holder=holder,
        source=storage.catalog,
        kinds=provider_kinds(),
        worker_registry=worker_registry,
        last_good=storage.last_good,
        clock=clock,
        prices=shipped_price_book(),
        listener=ReloadLog(),
    )
    stack.push_async_callback(reloader.close)
    return Wiring(
        clock=clock,
        storage=storage,
        worker_registry=worker_registry,
        reloader=reloader,
        metrics=metrics,
        deployment_states=SharedDeploymentStates(
            shared_directory(), lambda: _busy_deployments(gateway), metrics.provider_health
        ),
        journal=journal,
        shipper=shipper,
        budgets=budgets,
        budget_webhook=budget_webhook(settings, storage, upstream, budgets.keeper),
        other_journals=OtherJournals(settings.data_dir, storage.folder),
        access_log=access_log,
        use_store=use_store,
        limit_callers=limit_callers,
        sessions=_sessions(settings, keys, storage, use_store, clock),
        gateway=gateway,
        pool=pool,
        log_level=SharedLogLevelSwitch(process_log, worker_registry),
        journal_max_bytes=settings.journal_max_bytes,
        time_zone=settings.time_zone,
    )


def _sessions(
    settings: Settings, keys: Keys, storage: Storage, attempts: UseStore, clock: SystemClock
) -> Sessions:
    roles: dict[Role, Secret] = {"admin": keys.admin.secret}
    if keys.viewer is not None:
        roles["viewer"] = keys.viewer
    return Sessions(
        store=storage.sessions,
        attempts=attempts,
        hasher=storage.hasher,
        clock=clock,
        keys=roles,
        hours=settings.console_session_hours,
    )


def _csv_copy(settings: Settings, storage: Storage) -> CsvCopy | None:
    folder = settings.csv_fallback_dir
    if folder == "off":
        return None
    return CsvCopy(storage.folder / JOURNAL, folder or settings.data_dir / "telemetry_logs")


def _enabled_providers(holder: SnapshotHolder) -> frozenset[str]:
    providers = () if holder.current is None else holder.current.providers
    return frozenset(enabled.provider.provider_key for enabled in providers)


def _tenants(holder: SnapshotHolder) -> dict[str, str | None]:
    """Return the tenant of each credential, by its name."""
    accounts = () if holder.current is None else holder.current.accounts.values()
    return {account.credential.name: account.tenant for account in accounts}


def _busy_deployments(gateway: Gateway) -> list[OwnDeploymentState]:
    now = gateway.clock.monotonic()
    return [
        OwnDeploymentState(
            provider_key=state.provider_key,
            upstream_model=state.upstream_model,
            is_closed=state.breaker.closed,
            trial_in=state.breaker.trial_in(now),
            in_flight=state.in_flight,
        )
        for state in gateway.selector.busy_deployments()
    ]


def _breaker_listener(metrics: Metrics) -> OnOpen:
    def on_open(state: DeploymentState, seconds: float) -> None:
        metrics.breaker_opened(state.provider_key)
        log_opened_breaker(state.provider_key, state.upstream_model, seconds)

    return on_open


def _upstream(settings: Settings, pool: PooledUpstream) -> Upstream:
    """Return the transport. The pool supports no proxy, so requests that need one use aiohttp.

    Raises StartupError for proxies that cannot be used.
    """
    try:
        proxies = ProxySettings(os.environ)
    except InvalidProxy as error:
        raise StartupError(str(error)) from None
    simulated = SimulatedUpstream()
    if settings.upstream_transport == "pool" and not proxies:
        return UpstreamByScheme(http=pool, simulated=simulated)
    # Imported on demand: it takes a sixth of the startup time and 8 MB.
    from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream  # noqa: PLC0415

    other = AiohttpUpstream(
        connect_timeout=settings.connect_timeout,
        allow_private=settings.allow_private_upstreams,
        proxies=proxies,
    )
    if settings.upstream_transport == "aiohttp":
        return UpstreamByScheme(http=other, simulated=simulated)
    chosen = UpstreamByProxy(direct=pool, proxied=other, proxies=proxies)
    return UpstreamByScheme(http=chosen, simulated=simulated)


def _options(settings: Settings) -> Options:
    return Options(
        provider_suffix=settings.provider_suffix,
        llm_timeout=settings.llm_timeout or _LLM_TIMEOUT,
        commit_hold=settings.commit_hold,
        max_reply_bytes=settings.max_reply_bytes,
        max_body_fields=settings.max_body_fields,
        max_body_values=settings.max_body_values,
        max_event_bytes=min(settings.max_event_bytes, settings.max_reply_bytes),
        allow_anonymous=settings.allow_anonymous,
        binds_response_ids=settings.response_ids == "bound",
        max_retries=settings.max_retries,
        initial_backoff_ms=settings.initial_backoff,
        max_backoff_ms=settings.max_backoff,
        backoff_factor=settings.backoff_factor,
        jitter=settings.jitter,
        cache_enabled=settings.cache_enabled,
        cache_ttl=settings.cache_ttl,
    )
