"""Serves a program, in this process or in several workers under a supervisor."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from loguru import logger
from uvicorn.config import Config

from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.processes.acceptor import ConnectionCounts
from llm_gateway.server.processes.listener import BACKLOG, CannotServe, listen, url_of
from llm_gateway.server.processes.metrics_directory import VARIABLE, MetricsDirectory
from llm_gateway.server.processes.signals import Terminal, ignore_stop_signals
from llm_gateway.server.processes.supervisor import Supervisor
from llm_gateway.server.processes.uvicorn_server import DrainingApplication, GatewayServer, WorkerSlot
from llm_gateway.settings import Settings

# The exit code when the application fails to start; it has logged why.
_NOT_STARTED = 1


class Program(Protocol):
    """What `serve` runs. Methods are called in this order."""

    def prepare(self) -> None:
        """Do the work that is done once for all workers; any module may be imported from here on."""

    def make_app(self) -> DrainingApplication:
        """Return the application; called once in each process that serves."""

    async def greet(self, app: Any, url: str) -> None:  # noqa: ANN401 - what make_app returned
        """Greet the operator; called once, when the first process accepts requests at `url`."""


def serve(settings: Settings, program: Program, limits: HttpLimits | None = None) -> int:
    """Serve until a signal, and return the exit code. Raises CannotServe, and what `prepare` raises."""
    # Startup allocates many objects and hardly any garbage: collection starts after it.
    gc.disable()
    terminal = Terminal()
    # Until there is a handler: a start reads the newest configuration in any case.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _allow_many_files()
    listener = listen(settings.host, settings.port)
    with listener:
        limits = limits or HttpLimits(send_timeout=settings.send_timeout)
        serving = _Serving(settings, program, listener, limits, terminal)
        code = serving.alone() if settings.workers == 1 else serving.with_workers()
        ignore_stop_signals()
        return code


def _allow_many_files() -> None:
    """Raise the limit of open files to its maximum: a stream needs two, and 1,024 is a common default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        # Some systems report a maximum that they do not grant.
        pass


class _Serving:
    """One run of `serve`."""

    def __init__(
        self,
        settings: Settings,
        program: Program,
        listener: socket.socket,
        limits: HttpLimits,
        terminal: Terminal,
    ) -> None:
        self._settings = settings
        self._program = program
        self._listener = listener
        self._limits = limits
        self._terminal = terminal

    def alone(self) -> int:
        os.environ.pop(VARIABLE, None)
        self._program.prepare()
        app = self._program.make_app()

        async def on_started() -> None:
            await self._greet(app)

        return self._run(app, on_started)

    def with_workers(self) -> int:
        """Serve in forked worker processes."""
        run_dir = self._settings.data_dir / "run"
        try:
            metrics = MetricsDirectory(run_dir)
        except OSError as error:
            raise CannotServe(f"DATA_DIR: cannot write to {run_dir}: {error.strerror}.") from None
        try:
            self._program.prepare()
            connection_counts = ConnectionCounts(self._settings.workers)

            def on_worker_exit(index: int, pid: int) -> None:
                connection_counts.leave(index)
                metrics.forget_worker(pid)

            def work(index: int, first: bool, report_ready: Callable[[], None]) -> int:
                return self._run_worker(WorkerSlot(index, connection_counts), report_ready, first=first)

            timeout = self._settings.drain_timeout
            return Supervisor(
                self._settings.workers,
                work,
                stop_timeout=timeout,
                on_exit=on_worker_exit,
                terminal=self._terminal,
            ).run()
        finally:
            metrics.remove()

    def _run_worker(self, slot: WorkerSlot, report_ready: Callable[[], None], *, first: bool) -> int:
        app = self._program.make_app()

        async def on_started() -> None:
            report_ready()
            if first:
                await self._greet(app)

        return self._run(app, on_started, slot)

    def _run(
        self,
        app: DrainingApplication,
        on_started: Callable[[], Awaitable[None]],
        slot: WorkerSlot | None = None,
    ) -> int:
        config = Config(
            app,
            # uvloop if it is installed.
            loop="auto",
            http=GatewayProtocol,
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )
        server = GatewayServer(
            config,
            app,
            limits=self._limits,
            drain_timeout=self._settings.drain_timeout,
            on_started=on_started,
            terminal=self._terminal,
            slot=slot,
        )
        try:
            server.run([self._listener])
        except SystemExit:
            # uvicorn raises it when the application fails to start.
            return _NOT_STARTED
        return server.exit_code

    async def _greet(self, app: DrainingApplication) -> None:
        url = url_of(self._listener)
        workers = self._settings.workers
        logger.info("Serving at {} with {} worker{}.", url, workers, "s" if workers > 1 else "")
        try:
            await self._program.greet(app, url)
        except Exception:  # noqa: BLE001 - a failed greeting is no reason to stop
            logger.exception("The greeting failed")
