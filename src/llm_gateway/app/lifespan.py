"""The composition root: starts a gateway made of all its parts; nobody else knows them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from loguru import logger

from llm_gateway.app.reporting import report_regularly
from llm_gateway.app.routes import make_routes, periodic_probes
from llm_gateway.app.storage import Storage, find_keys
from llm_gateway.app.wiring import make_wiring
from llm_gateway.core.errors import Unavailable
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.database.catalog.change_feed import ChangeFeed
from llm_gateway.settings import Settings
from llm_gateway.surfaces.base import Surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway whose parts have all started."""

    dispatcher: AsgiApp
    lifecycle: Lifecycle
    storage: Storage


@asynccontextmanager
async def running(settings: Settings, surfaces: tuple[Surface, ...]) -> AsyncIterator[Running]:
    """Start every part, and stop them in reverse."""
    async with AsyncExitStack() as stack:
        keys = find_keys(settings)
        parts = await make_wiring(settings, keys, stack)
        await _first_load(parts.reloader)
        parts.shipper.start()
        parts.access_log.start()
        feed = ChangeFeed(parts.storage.address, parts.storage.catalog, parts.board, parts.reloader)
        await stack.enter_async_context(_in_background(feed.run()))
        await stack.enter_async_context(_in_background(report_regularly(parts)))
        probes = periodic_probes(parts, settings.workers)
        await stack.enter_async_context(_in_background(probes.run()))
        dispatcher = make_routes(settings, keys.admin.secret, parts, surfaces)
        yield Running(dispatcher=dispatcher, lifecycle=parts.gateway.lifecycle, storage=parts.storage)


async def _first_load(reloader: Reloader) -> None:
    """Load the configuration; a database that is down, with nothing kept, leaves the gateway unready."""
    try:
        await reloader.start()
    except Unavailable as error:
        logger.error("No configuration yet, no request is taken: {}", error.message)


@asynccontextmanager
async def _in_background(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
