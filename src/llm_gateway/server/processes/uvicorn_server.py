"""uvicorn's server with a graceful stop: it drains while the listener stays open, then closes, in bounded time."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import msgspec
from loguru import logger
from uvicorn.config import Config
from uvicorn.server import Server

from llm_gateway.server.http1.deadlines import DeadlineSweep
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.server.processes.acceptor import BalancedAcceptor, ConnectionCounts
from llm_gateway.server.processes.ending import end_process
from llm_gateway.server.processes.signals import StopSignals, Terminal, handle_signal
from llm_gateway.sockets.write_batch import WriteBatch, make_write_batch

# Seconds after draining: for requests to finish once they are cancelled, and for the application to shut down.
_SETTLE = 2.0
_APP_SHUTDOWN = 15.0
# Reference counting frees most objects of a request: look for cycles less often than by default.
_GC_THRESHOLDS = (20_000, 20, 50)


def settle_garbage_collection() -> None:
    """Start garbage collection, but never scan the objects of the startup: they live as long as the process."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()


class DrainingApplication(Protocol):
    """An ASGI application that can be drained."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:  # noqa: ANN401 - ASGI's dicts
        """ASGI entry point."""

    def share_writes(self, batch: WriteBatch) -> None:
        """Take note of the batch in which all writes to clients are made."""

    async def drain(self, timeout: float) -> None:
        """Reject new requests; return when none is in flight, or after `timeout` seconds."""

    async def reload(self) -> None:
        """Reload the configuration; log why it could not be. Does not raise."""


class WorkerSlot(msgspec.Struct, frozen=True):
    """A worker's index, and the connection counts that all workers share."""

    index: int
    connection_counts: ConnectionCounts


class GatewayServer(Server):
    """Serves one application in this process until a signal stops it.

    The first SIGTERM or SIGINT drains: the listener stays open while requests finish. The second closes the
    requests that are still open. The third ends the process at once. Those that follow within a second are the same
    one. SIGHUP reloads the configuration, unless it tells that the terminal is gone: then it drains, too. Under a
    supervisor, every SIGTERM drains, SIGQUIT closes, and SIGINT is ignored: a terminal sends it to the whole group,
    and the supervisor acts on it.
    """

    server_state: GatewayServerState

    def __init__(
        self,
        config: Config,
        app: DrainingApplication,
        *,
        limits: HttpLimits,
        drain_timeout: float,
        on_started: Callable[[], Awaitable[None]],
        terminal: Terminal,
        slot: WorkerSlot | None = None,
    ) -> None:
        """`config` is uvicorn's, of `app`; `on_started` is awaited when the server is ready for requests.

        `slot` is None if this process serves alone, without a supervisor.
        """
        super().__init__(config)
        self._batch = make_write_batch()
        self.server_state = GatewayServerState(limits, batch=self._batch)
        # For the shell or the supervisor.
        self.exit_code = 0
        self._app = app
        self._drain_timeout = drain_timeout
        self._slot = slot
        self._acceptor: BalancedAcceptor | None = None
        self._on_started = on_started
        self._terminal = terminal
        self._stop_signals = StopSignals()
        self._reloads: set[asyncio.Task[None]] = set()
        self._sweep = DeadlineSweep(
            self.server_state.connections,
            min(1.0, limits.head_timeout / 4, limits.keep_alive / 4, limits.linger / 4),
        )
        self._stopping: asyncio.Event
        self._forcing: asyncio.Event

    # --- signals ------------------------------------------------------------------------------------

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal; then `exit_code` is set."""
        self._app.share_writes(self._batch)
        self._stopping, self._forcing = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        if self._slot is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            handle_signal(signal.SIGTERM, loop, self.stop)
            handle_signal(signal.SIGQUIT, loop, partial(self.force, signal.SIGQUIT))
            handle_signal(signal.SIGHUP, loop, self._reload)
        else:
            handle_signal(signal.SIGHUP, loop, self._on_hangup)
            for number in (signal.SIGTERM, signal.SIGINT):
                handle_signal(number, loop, partial(self._on_signal, number))
        await self._serve(sockets)
        if self.force_exit:
            end_process(self.exit_code)

    def stop(self) -> None:
        """Drain, then end."""
        self.should_exit = True
        self._stopping.set()

    def force(self, number: signal.Signals) -> None:
        """Close open requests; the second time, end the process at once."""
        if self.force_exit or not self.started:
            os._exit(128 + number)
        self.force_exit = True
        self.exit_code = 128 + number
        self.stop()
        self._forcing.set()

    def _on_hangup(self) -> None:
        if self._terminal.is_gone():
            self._on_signal(signal.SIGHUP)
        else:
            logger.info("SIGHUP: reloading the configuration.")
            self._reload()

    def _reload(self) -> None:
        if self.started and not self.should_exit:
            task = asyncio.ensure_future(self._app.reload())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stop_signals.counts():
            return
        if self.should_exit:
            logger.warning("{} again: closing open requests.", number.name)
            self.force(number)
        else:
            logger.info("{}: finishing open requests. Send it again to close them now.", number.name)
            self.stop()

    # --- uvicorn's steps ------------------------------------------------------------------------------

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        loop = asyncio.get_running_loop()
        slot, listeners = self._slot, sockets or []
        if slot is None:
            await super().startup(listeners)
        else:
            await super().startup([])
            self._acceptor = BalancedAcceptor(
                listeners[0], slot.connection_counts, slot.index, self.server_state.connections
            )
            self._acceptor.open(loop, self._make_protocol)
        self._sweep.start(loop)
        settle_garbage_collection()
        await self._on_started()

    def _make_protocol(self) -> asyncio.Protocol:
        return GatewayProtocol(self.config, self.server_state, self.lifespan.state)

    async def main_loop(self) -> None:
        """Wait for the signal to stop, then drain with the listener open."""
        await self._stopping.wait()
        self.server_state.draining = True
        drain = asyncio.ensure_future(self._app.drain(self._drain_timeout))
        force = asyncio.ensure_future(self._forcing.wait())
        await asyncio.wait({drain, force}, return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        if not drain.done():
            drain.cancel()
        elif (failure := drain.exception()) is not None:
            logger.opt(exception=failure).error("Draining failed")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, close what is left, and shut the application down."""
        if self._acceptor is not None:
            self._acceptor.close()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        connections = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        await self._settle()
        for connection in list(connections):
            connection.transport.abort()
        self._sweep.stop()
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), _APP_SHUTDOWN)
        except TimeoutError:
            logger.error("The application did not shut down within {:g} seconds.", _APP_SHUTDOWN)
            self.exit_code = self.exit_code or 1

    async def _settle(self) -> None:
        """Give requests a moment to finish; then cancel the rest, and let them record that."""
        state = self.server_state
        loop = asyncio.get_running_loop()
        end = loop.time() + _SETTLE
        # A connection stays until its client has received the last bytes.
        while (state.tasks or state.connections) and not self.force_exit and loop.time() < end:  # noqa: ASYNC110 - nothing signals the end
            await asyncio.sleep(0.02)
        # Whoever was told to stop draining says so first, and tasks that were just created begin: a task that never
        # began answers and records nothing.
        await asyncio.sleep(0)
        tasks = set(state.tasks)
        direct = sum(connection.cut() for connection in list(state.connections))
        if tasks or direct:
            logger.warning("Cancelling {} requests that did not end in time.", len(tasks) + direct)
        if tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_SETTLE)
