"""uvicorn's server with our way of stopping: first drain with the door open, then close, and never for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from loguru import logger
from uvicorn.config import Config
from uvicorn.server import Server

from llm_gateway.server.http1.deadlines import DeadlineSweep
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.server.processes.acceptor import BalancedAcceptor, ConnectionCounts

# Seconds, once draining is over: for cancelled requests to settle, and for the application to put away its things.
_SETTLE = 2.0
_PUT_AWAY = 15.0
# Most objects of a request die by reference count: the collector looks for cycles less often than it would.
_GC_THRESHOLDS = (20_000, 20, 50)


def settle_garbage_collection() -> None:
    """Begin to collect, sparing all that the start has made: it stays, and would be looked through each time."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()


class DrainingApplication(Protocol):
    """An ASGI application that can be asked to come to an end."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:  # noqa: ANN401 - ASGI's dicts
        """Answer one connection's event or one request."""

    async def drain(self, timeout: float) -> None:
        """Be unready, refuse new work, and return when nothing is in flight or after `timeout` seconds."""


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """A worker's place: its number, and what the workers tell one another of their connections."""

    index: int
    attendance: ConnectionCounts


class GatewayServer(Server):
    """Serves one application in this process until it is told to stop.

    The first SIGTERM or SIGINT drains: the listener stays open while what is in flight ends. The second cuts
    what is left. The third ends the process on the spot. Under a supervisor SIGTERM drains however often it
    comes, SIGQUIT cuts, and SIGINT (which a terminal sends to everyone) is the supervisor's alone.
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
        post: WorkerSlot | None = None,
    ) -> None:
        """Take uvicorn's `config` of `app`; `on_started` is awaited when the first request may come.

        `post` is this process' place among the workers of a supervisor, None when it serves alone.
        """
        super().__init__(config)
        self.server_state = GatewayServerState(limits)
        # What the shell or the supervisor is told.
        self.exit_code = 0
        self._app = app
        self._drain_timeout = drain_timeout
        self._post = post
        self._doorway: BalancedAcceptor | None = None
        self._on_started = on_started
        self._sweep = DeadlineSweep(
            self.server_state.connections,  # type: ignore[arg-type]  # all of them are GatewayProtocols
            min(1.0, limits.head_timeout / 4, limits.keep_alive / 4, limits.linger / 4),
        )
        self._stopping: asyncio.Event
        self._forcing: asyncio.Event

    # --- signals ------------------------------------------------------------------------------------

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; `exit_code` says how it went."""
        self._stopping, self._forcing = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        if self._post is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGQUIT, self.force, signal.SIGQUIT)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._on_signal, number)
        await self._serve(sockets)
        if self.force_exit:
            # Nothing may hold up the end now: no thread, no cleaner.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_code)

    def stop(self) -> None:
        """Drain, then end."""
        self.should_exit = True
        self._stopping.set()

    def force(self, number: signal.Signals) -> None:
        """Wait for nobody any more; a second time, end on the spot."""
        if self.force_exit or not self.started:
            os._exit(128 + number)
        self.force_exit = True
        self.exit_code = 128 + number
        self.stop()
        self._forcing.set()

    def _on_signal(self, number: signal.Signals) -> None:
        if self.should_exit:
            logger.warning("{} again: cutting what is open.", number.name)
            self.force(number)
        else:
            logger.info("{}: finishing what is open. Send it again to cut.", number.name)
            self.stop()

    # --- uvicorn's steps ------------------------------------------------------------------------------

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then open the door."""
        loop = asyncio.get_running_loop()
        post, listeners = self._post, sockets or []
        if post is None:
            await super().startup(listeners)
        else:
            await super().startup([])
            self._doorway = BalancedAcceptor(
                listeners[0], post.attendance, post.index, self.server_state.connections
            )
            self._doorway.open(loop, self._make_protocol)
        self._sweep.start(loop)
        settle_garbage_collection()
        await self._on_started()

    def _make_protocol(self) -> asyncio.Protocol:
        return GatewayProtocol(self.config, self.server_state, self.lifespan.state)

    async def main_loop(self) -> None:
        """Wait to be told to stop, then drain with the listener open."""
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
        """Close the door, cut what is left, and let the application put its things away."""
        if self._doorway is not None:
            self._doorway.close()
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
            await asyncio.wait_for(self.lifespan.shutdown(), _PUT_AWAY)
        except TimeoutError:
            logger.error("The application did not end within {:g} seconds.", _PUT_AWAY)
            self.exit_code = self.exit_code or 1

    async def _settle(self) -> None:
        """Wait a moment for what is on its way out; then cancel the rest, and let it record that."""
        state = self.server_state
        loop = asyncio.get_running_loop()
        end = loop.time() + _SETTLE
        # A connection stays until its client has taken the last bytes.
        while (state.tasks or state.connections) and not self.force_exit and loop.time() < end:  # noqa: ASYNC110 - nothing tells of its end
            await asyncio.sleep(0.02)
        tasks = set(state.tasks)
        if tasks:
            logger.warning("Cutting {} requests that did not end in time.", len(tasks))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_SETTLE)
