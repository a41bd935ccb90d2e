"""Measures the data path alone: the real protocols and components, over transports without sockets.

`python -m benchmarks.in_process [--load unary]... [--batches 60]` feeds requests to the server's protocol and replies
to the pool's connections, in one process with no socket, and prints CPU microseconds per request: the lowest of
many short batches, which is stable on a noisy machine. The kernel's time for sockets and the shipping of usage rows
are not included; `make bench` measures the whole. With `--compare` it prints what prices, budgets and limits of use
add to a request, measured in turn in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import ctypes
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any, cast

import uvloop
from uvicorn.config import Config

from benchmarks import loopback as loopback_module
from benchmarks.loopback import Loopback, LoopbackDialer, SocketlessTransport
from benchmarks.opcodes import counted, table
from benchmarks.scenarios import PACED_CHUNKS, SCENARIOS, Scenario
from benchmarks.setups import SETUPS, Setup, add_options, catalog, limit_of
from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.flow.accounting.refusals import Refusals
from llm_gateway.flow.config.reloader import SnapshotHolder
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.dispatcher import Dispatcher
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.logs.access_log import AccessLog
from llm_gateway.infra.logs.event_log import AttemptLog
from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.infra.token_counting.counter import TiktokenCounter
from llm_gateway.infra.token_counting.vocabularies import Vocabularies
from llm_gateway.infra.upstream.by_scheme import UpstreamByScheme
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.infra.upstream.oauth_tokens import OAuthTokens
from llm_gateway.infra.upstream.simulated.upstream import SimulatedUpstream
from llm_gateway.infra.worker_registry import FileWorkerRegistry
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.protocol import GatewayProtocol
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.server.processes.uvicorn_server import settle_garbage_collection
from llm_gateway.sockets.write_batch import WriteBatch, make_write_batch
from llm_gateway.surfaces.base import SurfaceServices
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS
from llm_gateway.surfaces.openai.routes import openai_routes

_KEY = "sk-in-process-benchmark"
_PLAIN = SETUPS["plain"]
# glibc's M_TRIM_THRESHOLD: how much free memory at the end of the heap is not returned to the system.
_TRIM_THRESHOLD = -1
# Longer than the access log waits for more lines; valgrind slows down what it does then, too.
_LOG_SECONDS = 1.0
# Requests of one batch, by load.
BATCH = {"unary": 640, "big": 320, "burst": 320, "paced": 64}


def _head(kind: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode()


def _event(delta: str, finish: str = "null") -> bytes:
    data = (
        '{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench","choices":'
        f'[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]}}'
    )
    return _framed(f"data: {data}\n\n".encode())


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _unary() -> list[bytes]:
    usage = '"usage":{"prompt_tokens":19,"completion_tokens":50,"total_tokens":69}'
    body = (
        '{"id":"chatcmpl-bench","object":"chat.completion","created":1760000000,"model":"bench","choices":[{'
        f'"index":0,"message":{{"role":"assistant","content":"{"x" * 150}"}},"logprobs":null,'
        f'"finish_reason":"stop"}}],{usage}}}'
    ).encode()
    return [_head("application/json", f"content-length: {len(body)}") + body]


def _stream(*, at_once: bool) -> list[bytes]:
    usage = (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench",'
        b'"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":50,"total_tokens":69}}\n\n'
    )
    first = _head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
    first += _event('{"role":"assistant","content":""}')
    chunks = [_event('{"content":" token"}')] * PACED_CHUNKS
    last = _event("{}", '"stop"') + _framed(usage) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    pieces = [first, *chunks, last]
    return [b"".join(pieces)] if at_once else pieces


def _replies(scenario: Scenario) -> Callable[[], Sequence[bytes]]:
    made = _stream(at_once=scenario.name == "burst") if scenario.stream else _unary()
    return lambda: made


async def _start(scenario: Scenario, connections: int, stack: AsyncExitStack, setup: Setup) -> Loopback:
    """Build a gateway as the composition root does, without sockets and database."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-gateway-bench-")))
    sink = stack.enter_context((folder / "access.log").open("wb"))
    loopback = Loopback(
        replies=_replies(scenario), request=scenario.request({"authorization": f"Bearer {_KEY}"})
    )
    clock, holder, hasher = SystemClock(), SnapshotHolder(), Blake2KeyHasher(b"pepper")
    holder.current = build_snapshot(catalog(setup, hasher.hash(_KEY)), KINDS, shipped_price_book())
    batch = make_write_batch()
    pool = PooledUpstream(connect_timeout=10, batch=batch)
    pool._dialer = cast("Any", LoopbackDialer(loopback))  # noqa: SLF001 - the only part that is not real
    access_log = AccessLog("all", clock, sink.fileno())
    access_log.start()
    stack.push_async_callback(access_log.close)
    journal = FileJournal(folder / "journal", 1 << 32, clock, batch=batch, reaches_clients=True)
    stack.callback(journal.close)
    worker_registry = FileWorkerRegistry(folder / "run")
    stack.callback(worker_registry.close)
    upstream = UpstreamByScheme(http=pool, simulated=SimulatedUpstream())
    metrics = Metrics(holder.current.names, frozenset, credentials=lambda: {"load": None})
    gateway = Gateway(
        snapshots=holder,
        adapters=ADAPTERS,
        upstream=upstream,
        tokens=OAuthTokens(upstream, clock),
        limit=await limit_of(setup, folder / "run", stack),
        hasher=hasher,
        journal=journal,
        refusals=Refusals(journal),
        observers=(metrics, access_log, AttemptLog()),
        counter=TiktokenCounter(Vocabularies(folder, None)),
        clock=clock,
        options=Options(),
    )
    bodies = BodyReader(max_bytes=1 << 25, max_total_bytes=1 << 30, timeout=30)
    new_id = RequestIds().__call__
    plane = DataPlane(
        gateway=gateway,
        bodies=bodies,
        worker_registry=worker_registry,
        max_concurrency=10_000,
        new_request_id=new_id,
    )
    # No load asks for usage rows.
    unused = cast("Any", None)
    services = SurfaceServices(
        plane=plane,
        prober=Prober(gateway, ttl=60),
        usage=unused,
        flush=unused,
        limit_callers=unused,
        events=unused,
        health=unused,
        query_log=unused,
    )
    routes = openai_routes(services)
    app = Dispatcher((routes,), _no_fallback, (), OPENAI_ERRORS, new_id, lambda _: None)
    _connect(app, connections, loopback, batch)
    return loopback


async def _no_fallback(*_: object) -> None:
    raise AssertionError("the load has no other paths")


def _connect(app: Any, connections: int, loopback: Loopback, batch: WriteBatch) -> None:
    config = Config(
        app,
        http=GatewayProtocol,
        ws="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    config.load()
    state = GatewayServerState(HttpLimits(), batch=batch)
    for _ in range(connections):
        protocol = GatewayProtocol(config, state, {})

        def on_write(data: bytes, protocol: GatewayProtocol = protocol) -> None:
            loopback.on_reply(protocol, data)

        protocol.connection_made(SocketlessTransport(on_write))
        loopback.to_request.append(protocol)


async def count(scenario: Scenario, setup: Setup = _PLAIN) -> str:
    """Return the bytecodes of one request (or one chunk of a paced stream), by function."""
    batch = BATCH[scenario.name]
    async with AsyncExitStack() as stack:
        loopback = await _start(scenario, min(scenario.connections, batch), stack, setup)
        await loopback.send(2 * batch)
        with counted() as counts:
            await loopback.send(batch)
    own = {__file__, loopback_module.__file__}
    ours = Counter({code: number for code, number in counts.items() if code.co_filename not in own})
    return table(ours, share_of(scenario))


def share_of(scenario: Scenario) -> int:
    """Return how many requests (or chunks of a paced stream) one batch has."""
    return BATCH[scenario.name] * (PACED_CHUNKS if scenario.unit == "chunk" else 1)


async def counted_batch(
    scenario: Scenario, start: Callable[[], object], stop: Callable[[], object], setup: Setup = _PLAIN
) -> None:
    """Start a gateway, send it requests as a warm-up, and one batch between `start` and `stop`."""
    batch = BATCH[scenario.name]
    async with AsyncExitStack() as stack:
        loopback = await _start(scenario, min(scenario.connections, batch), stack, setup)
        await loopback.send(2 * batch)
        settle_garbage_collection()
        # The access log's lines of this batch are counted, and no others.
        await asyncio.sleep(_LOG_SECONDS)
        start()
        await loopback.send(batch)
        await asyncio.sleep(_LOG_SECONDS)
        stop()


async def measure(
    scenario: Scenario, batches: int, profile: cProfile.Profile | None = None, setup: Setup = _PLAIN
) -> float:
    """Return CPU microseconds per request (per chunk for a paced stream): the lowest of the batches."""
    batch = BATCH[scenario.name]
    connections = min(scenario.connections, batch)
    async with AsyncExitStack() as stack:
        loopback = await _start(scenario, connections, stack, setup)
        await loopback.send(2 * batch)
        settle_garbage_collection()
        costs = []
        with ExitStack() as watched:
            if profile is not None:
                watched.enter_context(profile)
            for _ in range(batches):
                before = time.process_time()
                await loopback.send(batch)
                costs.append(time.process_time() - before)
    return min(costs) / share_of(scenario) * 1e6


async def compare(scenario: Scenario, batches: int, setups: Sequence[str]) -> str:
    """Return what each of the setups adds to a plain request, measured in turn in this process.

    The ratio travels between machines. It is the median of those of single batches to the plain one beside them, so
    that other work on the machine disturbs both alike.
    """
    batch = BATCH[scenario.name]
    connections = min(scenario.connections, batch)
    costs: dict[str, list[float]] = {name: [] for name in ("plain", *setups)}
    async with AsyncExitStack() as stack:
        loopbacks = {name: await _start(scenario, connections, stack, SETUPS[name]) for name in costs}
        for loopback in loopbacks.values():
            await loopback.send(2 * batch)
        settle_garbage_collection()
        names = list(costs)
        for number in range(batches):
            # In another order each time: what runs after another finds its traces in the caches.
            for name in names[number % len(names) :] + names[: number % len(names)]:
                before = time.process_time()
                await loopbacks[name].send(batch)
                costs[name].append((time.process_time() - before) / share_of(scenario) * 1e6)
    plain = costs["plain"]
    lines = [f"{median(plain):8.1f} us a {scenario.unit}, plain, the median of {batches} batches in turn"]
    for name in setups:
        pairs = list(zip(costs[name], plain, strict=True))
        added, ratio = (
            median(cost - base for cost, base in pairs),
            median(cost / base for cost, base in pairs),
        )
        lines.append(f"{added:+8.1f} us, ratio {ratio:.3f}  {name}: {SETUPS[name].title}")
    return "\n".join(lines)


def _keep_freed_blocks() -> None:
    """Keep the heap from shrinking after each large body; in a server, later allocations prevent that."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, 64 * 1024 * 1024)


def main() -> None:
    """Measure and print the selected loads."""
    names = list(BATCH)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", action="append", choices=names)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--profile", action="store_true", help="print the time by function")
    parser.add_argument("--opcodes", action="store_true", help="count bytecodes by function instead of time")
    parser.add_argument(
        "--compare", action="store_true", help="measure what each setup adds to a plain request"
    )
    add_options(parser)
    options = parser.parse_args()
    _keep_freed_blocks()
    for scenario in SCENARIOS:
        if scenario.name not in (options.load or names):
            continue
        if options.compare:
            others = [name for name in options.setup or SETUPS if name != "plain"]
            compared = uvloop.run(compare(scenario, options.batches, others))
            print(f"{scenario.title}\n{compared}\n", flush=True)
            continue
        for name in options.setup or ["plain"]:
            setup = SETUPS[name]
            title = scenario.title if name == "plain" else f"{scenario.title}, {name}"
            if options.opcodes:
                counted_by_function = uvloop.run(count(scenario, setup))
                print(f"{title}, bytecodes a {scenario.unit}\n{counted_by_function}\n", flush=True)
                continue
            profile = cProfile.Profile() if options.profile else None
            cost = uvloop.run(measure(scenario, options.batches, profile, setup))
            print(f"{title:36} {cost:8.1f} us a {scenario.unit}", flush=True)
            if profile is not None:
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
