"""Starts and stops a gateway with all its components and background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from loguru import logger

from llm_gateway.app.data_folder import OtherJournals
from llm_gateway.app.keys import find_keys
from llm_gateway.app.reporting import update_metrics_regularly
from llm_gateway.app.routes import make_routes, periodic_probes
from llm_gateway.app.storage import Storage
from llm_gateway.app.upkeep import UsageUpkeep
from llm_gateway.app.wiring import Wiring, make_wiring
from llm_gateway.core.errors import Unavailable
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.database.catalog.change_feed import ChangeFeed
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.upstream.certificates import InvalidCertificates, check_certificates
from llm_gateway.settings import Settings
from llm_gateway.sockets.write_batch import WriteBatch
from llm_gateway.surfaces.base import Surface


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway whose components have all started."""

    dispatcher: AsgiApp
    lifecycle: Lifecycle
    reloader: Reloader
    storage: Storage
    other_journals: OtherJournals


@asynccontextmanager
async def running(
    settings: Settings, surfaces: tuple[Surface, ...], batch: WriteBatch | None = None
) -> AsyncIterator[Running]:
    """Start all components; stop them in reverse order. `batch` is the server's, if it has one."""
    async with AsyncExitStack() as stack:
        # In a thread, beside all that is read: OpenSSL needs 20 ms for the certificates of a system.
        checking = asyncio.ensure_future(asyncio.to_thread(_certificate_problem))
        stack.callback(checking.cancel)
        keys = find_keys(settings)
        wiring = await make_wiring(settings, keys, stack, batch)
        stack.callback(wiring.gateway.heavy_work.close)
        wiring.log_level.apply()
        await _first_load(wiring.reloader)
        if (problem := await checking) is not None:
            raise StartupError(problem)
        _warn_of_shared_keys(wiring)
        wiring.shipper.start()
        wiring.budgets.keeper.start()
        wiring.access_log.start()
        feed = ChangeFeed(
            wiring.storage.address,
            wiring.storage.catalog,
            wiring.worker_registry,
            wiring.reloader,
            identity=wiring.storage.identity,
        )
        await stack.enter_async_context(_in_background(feed.run()))
        await stack.enter_async_context(_in_background(update_metrics_regularly(wiring)))
        await stack.enter_async_context(_in_background(wiring.log_level.follow()))
        probes = periodic_probes(wiring, settings.workers)
        await stack.enter_async_context(_in_background(probes.run()))
        upkeep = UsageUpkeep(
            wiring,
            row_days=settings.usage_retention_days,
            rollup_days=settings.usage_rollup_retention_days,
        )
        await stack.enter_async_context(_in_background(upkeep.run()))
        if wiring.budget_webhook is not None:
            await stack.enter_async_context(_in_background(wiring.budget_webhook.run()))
        dispatcher = make_routes(settings, keys, wiring, surfaces)
        yield Running(
            dispatcher=dispatcher,
            lifecycle=wiring.gateway.lifecycle,
            reloader=wiring.reloader,
            storage=wiring.storage,
            other_journals=wiring.other_journals,
        )


def _certificate_problem() -> str | None:
    try:
        check_certificates(os.environ)
    except InvalidCertificates as error:
        return str(error)
    return None


async def _first_load(reloader: Reloader) -> None:
    """Load the configuration; without a database and a last-good file the gateway starts, but is not ready."""
    try:
        await reloader.start()
    except Unavailable as error:
        logger.error("No configuration yet, so no requests are accepted: {}", error.message)


def _warn_of_shared_keys(wiring: Wiring) -> None:
    """Warn of credentials with a key of the operator, which the admin API does not accept."""
    snapshot = wiring.gateway.snapshots.current
    for key_hash in wiring.storage.operator_keys:
        account = None if snapshot is None else snapshot.account(key_hash)
        if account is not None:
            logger.warning(
                "The key of credential {} is also ADMIN_KEY, VIEWER_KEY, OPS_TOKEN or SECRET_KEY, so that its client "
                "has the operator's rights. Change one of them.",
                account.credential.id,
            )


@asynccontextmanager
async def _in_background(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
