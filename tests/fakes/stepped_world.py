"""A gateway between clients and providers, without sockets and real time: from the server's protocol to the pool.

What it did is read from `state`; two worlds that are driven alike can be compared.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC
from typing import Any, ParamSpec, TypeVar, cast

from uvicorn.config import Config

from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.routing.circuit_breaker import Breaker, BreakerRules
from llm_gateway.flow.accounting.budget_limit import BudgetLimit
from llm_gateway.flow.accounting.holds import TokenEstimator
from llm_gateway.flow.accounting.rate_limit import RateLimit
from llm_gateway.flow.accounting.refusals import Refusals
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.accounting.use_limit import UseLimits
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.heavy_work import HeavyWork
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.flow.routing.selector import Selector
from llm_gateway.http.auth import Guard
from llm_gateway.http.dispatcher import Dispatcher, RouteTable
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.reply_cache.in_process import InProcessReplyCache
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.server.http1.deadlines import DeadlineSweep
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.server.processes.uvicorn_server import GatewayServer
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from llm_gateway.surfaces.openai.dialect import CHAT, RESPONSE
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from tests.fakes.in_memory import FakeTokens, Fixed, PlainHasher, Recorder, WordCounter
from tests.fakes.price_books import price_book
from tests.fakes.scripted_provider import LARGEST_REPLY, ScriptedProviders
from tests.fakes.socketless import SteppedLoop
from tests.fakes.stepped_catalogs import catalog
from tests.fakes.stepped_clients import CHAT_PATH, RESPONSE_PATH, Client
from tests.fakes.stepped_limits import Bookings, LedgerStore, Purse
from tests.fakes.worker_registry import FakeWorkerRegistry

_PATIENCE = 5.0
# Rounds of the loop; far more than anything takes that needs no time.
_MANY = 20_000

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LoopClock(Clock):
    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.now

    def unix_us(self) -> int:
        return round(self._loop.now * 1e6)


class InlineWork(HeavyWork):
    """Works at once, but not without giving others a turn."""

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        await asyncio.sleep(0)
        return function(*args, **kwargs)


class RaisingObserver(Observer):
    """Fails on every third request."""

    def finished(self, record: UsageRecord) -> None:
        self._note(record.request_id)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        self._note(failed.request_id)

    def _note(self, request_id: str) -> None:
        if number_of(request_id) % 3 == 0:
            raise RuntimeError("an observer")


def number_of(request_id: str) -> int:
    return int(request_id.removeprefix("request-"))


def _by_id(facts: Iterable[Any]) -> list[Any]:
    """Sort facts by their requests: several requests that are cut together end in any order."""
    return sorted(facts, key=lambda fact: number_of(fact.request_id))


class _Tasks(set[asyncio.Task[None]]):
    """Counts the tasks that the server has started."""

    started = 0

    def add(self, task: asyncio.Task[None], /) -> None:
        self.started += 1
        super().add(task)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.lines.append((record.name, record.getMessage(), repr(error)))


class SteppedWorld:
    """Everything between clients and providers. Without `is_direct` every request has its task."""

    def __init__(
        self,
        loop: SteppedLoop,
        *,
        is_direct: bool,
        adapters: Mapping[str, Adapter] = ADAPTERS,
        guards: tuple[Guard, ...] = (),
        wrap: Callable[[AsgiApp], AsgiApp] = lambda app: app,
        **options: Any,
    ) -> None:
        self.loop = loop
        clock = LoopClock(loop)
        self.providers = ScriptedProviders()
        self.pool = PooledUpstream(
            connect_timeout=1, idle_seconds=20, batch=make_write_batch(patience=ALWAYS)
        )
        # The only part of the pool that is not real.
        cast("Any", self.pool)._dialer = self.providers
        self.recorder = Recorder()
        self.use, self.purse, self.bookings = LedgerStore(clock), Purse(), Bookings()
        estimator = TokenEstimator(100)
        snapshots = self.snapshots = Fixed(None)
        self.version = 0
        self.configure("nothing")
        self.metrics = Metrics(
            lambda model: snapshots.current is not None and snapshots.current.names(model),
            lambda: frozenset("abc"),
        )
        self.cached: Counter[str] = Counter()
        self.openings: list[tuple[str, str, float]] = []
        store = ReplyStore(
            InProcessReplyCache(1 << 20, clock),
            namespace=b"here",
            largest=1 << 16,
            count=lambda result: self.cached.update([result]),
        )
        self.gateway = Gateway(
            snapshots=snapshots,
            adapters=adapters,
            upstream=self.pool,
            tokens=FakeTokens(),
            limit=all_of(
                RateLimit(InProcessRateLimiter(lambda: round(clock.monotonic() * 1e9))),
                UseLimits(self.use, estimator, self.metrics.limit_refused),
                BudgetLimit(self.purse, estimator, UTC),
                self.bookings,
            ),
            hasher=PlainHasher(),
            journal=self.recorder,
            refusals=Refusals(self.recorder, most=1000),
            observers=(self.recorder, RaisingObserver(), self.metrics),
            counter=WordCounter(),
            clock=clock,
            options=Options(
                **{
                    "llm_timeout": _PATIENCE,
                    "max_reply_bytes": LARGEST_REPLY,
                    "initial_backoff_ms": 300,
                    "limits_every_caller": True,
                    **options,
                }
            ),
            replies=store,
            selector=Selector(
                rules=BreakerRules(consecutive_failures=2, initial_open_time=2.0),
                draw=random.Random(7).random,
                on_open=lambda state, seconds: self.openings.append(
                    (state.provider_key, state.upstream_model, seconds)
                ),
            ),
            heavy_work=InlineWork(),
        )
        # Held for as long as the world lasts: a caller that is known keeps those of its last request.
        cast("Any", self.gateway.selector)._deployment_states = {}
        self.workers = FakeWorkerRegistry()
        self.bodies = BodyReader(max_bytes=1 << 20, max_total_bytes=3 << 19, timeout=3.0)
        self._ids = itertools.count(1)
        # How many requests were served directly, at first at least.
        self.direct = 0
        plane = DataPlane(
            gateway=self.gateway,
            bodies=self.bodies,
            worker_registry=self.workers,
            max_concurrency=12,
            new_request_id=self._direct_id if is_direct else None,
        )
        routes = {CHAT_PATH: CHAT, RESPONSE_PATH: RESPONSE}
        table = RouteTable(
            metered={("POST", path): plane.model_route(path, dialect) for path, dialect in routes.items()},
            errors=CHAT,
            root="/v1/",
        )
        app = Dispatcher((table,), _no_other, guards, OPENAI_ERRORS, self._id, lambda _: None)
        self.config = Config(
            wrap(app),
            http=GatewayProtocol,
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self.config.load()
        self.server_state = GatewayServerState(
            HttpLimits(keep_alive=60.0), lambda: "rejected", make_write_batch(patience=ALWAYS)
        )
        self.server_state.tasks = self._tasks = _Tasks()
        self.clients: list[Client] = []
        self._log = _Lines()
        for name in ("uvicorn.error", "llm_gateway"):
            logging.getLogger(name).addHandler(self._log)
        self._sweep = DeadlineSweep(cast("Any", self.server_state.connections), 1.0)
        self._sweep.start(loop)

    def _id(self) -> str:
        return f"request-{next(self._ids)}"

    def _direct_id(self) -> str:
        self.direct += 1
        return self._id()

    @property
    def tasks_started(self) -> int:
        """How many requests had a task."""
        return self._tasks.started

    def configure(self, change: str) -> None:
        """Put another configuration in force."""
        self.version += 1
        self.snapshots.current = build_snapshot(catalog(change, self.version), KINDS, price_book())

    def connect(self) -> Client:
        self.clients.append(Client(GatewayProtocol(self.config, self.server_state, {}, self.loop)))
        return self.clients[-1]

    async def settle(self) -> None:
        """Let everything happen that takes no time."""
        quiet = 0
        for _ in range(_MANY):
            await asyncio.sleep(0)
            quiet = 0 if cast("Any", self.loop)._ready else quiet + 1
            if quiet == 2:
                return
        raise AssertionError("it never ends")

    async def wait(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        until = self.loop.now + seconds
        await self.settle()
        while (following := self._next_timer()) is not None and following <= until:
            self.loop.now = max(self.loop.now, following)
            await self.settle()
        self.loop.now = until
        await self.settle()

    def _next_timer(self) -> float | None:
        timers = cast("Any", self.loop)._scheduled
        return min((timer.when() for timer in timers if not timer.cancelled()), default=None)

    async def stop(self) -> None:
        """Cut what is open, as the server does that stops."""
        self.gateway.lifecycle.cutting = True
        server = GatewayServer(
            self.config,
            cast("Any", None),
            limits=self.server_state.limits,
            drain_timeout=0,
            on_started=cast("Any", None),
            terminal=cast("Any", None),
        )
        server.server_state, server.servers = self.server_state, []
        server.lifespan = cast("Any", _Lifespan())
        server.force_exit = True
        await server.shutdown()
        await self.settle()

    async def close(self) -> None:
        self._sweep.stop()
        self.gateway.refusals.flush()  # type: ignore[attr-defined]
        await self.gateway.background.drain(0)
        for name in ("uvicorn.error", "llm_gateway"):
            logging.getLogger(name).removeHandler(self._log)
        await self.pool.close()

    # --- what can be seen of it ---

    def state(self) -> dict[str, Any]:
        """Return all that may not depend on how requests were served."""
        recorder, selector = self.recorder, self.gateway.selector
        # Those that were only looked up are as if they were not there.
        deployments = {
            key: (state.in_flight, state.load(self.loop.now), _slots(state.breaker))
            for key, state in sorted(selector._deployment_states.items())
            if _slots(state.breaker) != _slots(Breaker(state.breaker._rules))
        }
        routes = {
            key: (_slots(state.budget), _credits(state.round_robin))
            for key, state in selector._explicit.items()
            if state.budget.requests
        }
        return {
            "clients": [
                (b"".join(one.written), one.closed, one.reading, one.protocol.deadline)
                for one in self.clients
            ],
            "requests": self.providers.requests,
            "provider connections": [
                (one.host, one.closed, one.reading) for one in self.providers.connections
            ],
            "rows": _by_id(recorder.journalled),
            "observed": (_by_id(recorder.records), _by_id(recorder.failed)),
            "attempts": (_by_id(recorder.begun), _by_id(recorder.ended_attempts)),
            "metrics": sorted(map(_rounded, self.metrics.render({}).decode().splitlines())),
            "deployments": deployments,
            "routes": routes,
            "openings": self.openings,
            "cached": self.cached,
            "limits": (self.use.used(), self.use.open_holds(), self.purse.spent, self.purse.held),
            "bookings": (self.bookings.begun, self.bookings.ended),
            "connections": self.pool.connections(),
            "open": self.open(),
            "log": sorted(self._log.lines),
        }

    def open(self) -> dict[str, int]:
        """Return what is counted while requests are open."""
        return {
            "lifecycle": self.gateway.lifecycle.open,
            "workers": self.workers.inside,
            "bytes": self.bodies._in_flight,
            "in flight": sum(one.in_flight for one in self.gateway.selector.busy_deployments()),
            "holds": self.use.open_holds(),
            "money": sum(self.purse.held.values()),
            "bookings": self.bookings.begun - sum(self.bookings.ended.values()),
            "tasks": len(self.server_state.tasks),
            "single flights": len(self.gateway.replies.in_flight) if self.gateway.replies else 0,
            "busy": self.pool.connections()["busy"],
        }


def _rounded(line: str) -> str:
    """Return a line of metrics without what depends on the order in which seconds were added up."""
    name, _, value = line.rpartition(" ")
    return line if line.startswith("#") else f"{name} {float(value):.9f}"


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def _credits(round_robin: Any) -> Any:
    """Return the credits of a copy of a round robin: to read them ends its cycle."""
    other = deepcopy(round_robin)
    other._settle()
    return other._credits


class _Lifespan:
    """The application's end, which is not the server's business here."""

    async def shutdown(self) -> None: ...


async def _no_other(*_: object) -> None:
    raise AssertionError("there are no other paths")
