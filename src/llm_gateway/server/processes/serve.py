"""Serves a program: in this process, or in several under a supervisor."""

from __future__ import annotations

import gc
import os
import resource
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
from llm_gateway.server.processes.supervisor import Supervisor
from llm_gateway.server.processes.uvicorn_server import DrainingApplication, GatewayServer, WorkerSlot
from llm_gateway.settings import Settings

# The exit code when the application does not start; it has said why.
_NOT_STARTED = 1


class Program(Protocol):
    """What is served, in the order in which it is asked for."""

    def prepare(self) -> None:
        """Do what is done once for all workers; called when the environment is ready for any import."""

    def make_app(self) -> DrainingApplication:
        """Make the application; called once in every process that serves."""

    async def greet(self, app: Any, url: str) -> None:  # noqa: ANN401 - whatever make_app made
        """Welcome the operator; called once, when the first process takes requests at `url`."""


def serve(settings: Settings, program: Program, limits: HttpLimits | None = None) -> int:
    """Serve until told to stop, and return the exit code; raise CannotServe, and what `prepare` raises."""
    # A start makes many objects and next to no garbage; collecting begins when it is over.
    gc.disable()
    _allow_many_files()
    listener = listen(settings.host, settings.port)
    with listener:
        serving = _Serving(settings, program, listener, limits or HttpLimits())
        return serving.alone() if settings.workers == 1 else serving.with_workers()


def _allow_many_files() -> None:
    """Raise the limit of open files as far as it goes: each stream takes two, and 1,024 is a common default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        # Some systems name a most that they do not grant.
        pass


class _Serving:
    """One run of `serve`."""

    def __init__(
        self, settings: Settings, program: Program, listener: socket.socket, limits: HttpLimits
    ) -> None:
        self._settings = settings
        self._program = program
        self._listener = listener
        self._limits = limits

    def alone(self) -> int:
        """Serve in this process."""
        os.environ.pop(VARIABLE, None)
        self._program.prepare()
        app = self._program.make_app()

        async def on_started() -> None:
            await self._greet(app)

        return self._run(app, on_started)

    def with_workers(self) -> int:
        """Serve in forked processes, and watch them."""
        run_dir = self._settings.data_dir / "run"
        try:
            metrics = MetricsDirectory(run_dir)
        except OSError as error:
            raise CannotServe(f"DATA_DIR: {run_dir} cannot be written: {error.strerror}.") from None
        try:
            self._program.prepare()
            attendance = ConnectionCounts(self._settings.workers)

            def bury(index: int, pid: int) -> None:
                attendance.leave(index)
                metrics.forget_worker(pid)

            def work(index: int, first: bool, tell_ready: Callable[[], None]) -> int:
                return self._work(WorkerSlot(index, attendance), tell_ready, first=first)

            timeout = self._settings.drain_timeout
            return Supervisor(self._settings.workers, work, stop_timeout=timeout, on_death=bury).run()
        finally:
            metrics.remove()

    def _work(self, post: WorkerSlot, tell_ready: Callable[[], None], *, first: bool) -> int:
        """Live as a worker."""
        app = self._program.make_app()

        async def on_started() -> None:
            tell_ready()
            if first:
                await self._greet(app)

        return self._run(app, on_started, post)

    def _run(
        self,
        app: DrainingApplication,
        on_started: Callable[[], Awaitable[None]],
        post: WorkerSlot | None = None,
    ) -> int:
        config = Config(
            app,
            # uvloop where it is installed.
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
            post=post,
        )
        try:
            server.run([self._listener])
        except SystemExit:
            # uvicorn's way of saying that the application did not start.
            return _NOT_STARTED
        return server.exit_code

    async def _greet(self, app: DrainingApplication) -> None:
        url = url_of(self._listener)
        workers = self._settings.workers
        logger.info("Serving at {} with {} worker{}.", url, workers, "s" if workers > 1 else "")
        try:
            await self._program.greet(app, url)
        except Exception:  # noqa: BLE001 - a welcome that fails is no reason to stop
            logger.exception("The welcome failed")
