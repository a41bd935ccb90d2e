"""Measures the cost of an upstream request over each transport, and of a bare exchange of the same bytes.

`python -m benchmarks.transports [--seconds 2] [--rounds 5]` prints CPU microseconds (user and system, of the
client's process alone) for a request, and their ratio to aiohttp in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.machine import Cores
from benchmarks.tools import Tools
from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.providers.base import UpstreamRequest

_CONNECTIONS = 32
_TIMEOUT = 600.0
_LIMIT = 64 * 1024 * 1024
# The first letter of the model tells the fake provider what to send.
_LOADS = {"unary": ("u", 200), "burst": ("b", 200), "paced": ("p", 200), "big": ("u", 60_000)}
_PACED_CONNECTIONS = 300
# Streams last two and a half seconds, and a window needs several of each.
_PACED_SECONDS = 8.0

Ask = Callable[[], Awaitable[None]]


def _request(port: int, model: str, text_bytes: int) -> UpstreamRequest:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "x" * text_bytes}]}
    return UpstreamRequest(
        url=f"http://127.0.0.1:{port}/v1/chat/completions",
        headers={
            "user-agent": "llm-gateway",
            "accept-encoding": "identity",
            "authorization": "Bearer sk-0123456789012345678901234567890123456789",
            "content-type": "application/json",
            "accept": "application/json",
            "x-request-id": "0198c0de-0000-7000-8000-000000000000",
        },
        body=json.dumps(body).encode(),
    )


class _Bare(asyncio.Protocol):
    """Exchanges the same bytes in the same event loop without parsing them: the lower bound."""

    def __init__(self, request: UpstreamRequest) -> None:
        lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{''.join(lines)}"
        self._bytes = f"{head}content-length: {len(request.body)}\r\n\r\n".encode() + request.body
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not data.endswith((b"0\r\n\r\n", b"}}", b"}")):
            return
        self._done.set_result(None)

    def ask(self) -> asyncio.Future[None]:
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._bytes)  # type: ignore[attr-defined]  # uvloop's does not inherit from it
        return self._done


async def _askers(kind: str, load: str, port: int, connections: int) -> tuple[list[Ask], Upstream | None]:
    """Return one function for each connection."""
    model, text_bytes = _LOADS[load]
    request = _request(port, model, text_bytes)
    if kind == "bare":
        loop = asyncio.get_running_loop()
        bare = [
            (await loop.create_connection(lambda: _Bare(request), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        return [each.ask for each in bare], None
    made: Upstream = (
        PooledUpstream(connect_timeout=10) if kind == "pool" else AiohttpUpstream(connect_timeout=10)
    )
    upstream = made

    async def unary() -> None:
        reply = await upstream.send(request, _TIMEOUT)
        try:
            await reply.read_all(_LIMIT, _TIMEOUT)
        finally:
            reply.close()

    async def stream() -> None:
        reply = await upstream.send(request, _TIMEOUT)
        try:
            while b"[DONE]" not in await reply.read(_TIMEOUT):
                pass
        finally:
            reply.finish()

    return [unary if model == "u" else stream] * connections, upstream


async def _measure(kind: str, load: str, port: int, seconds: float) -> float:
    """Return CPU microseconds per request."""
    connections = _CONNECTIONS
    if load == "paced":
        connections, seconds = _PACED_CONNECTIONS, max(seconds, _PACED_SECONDS)
    askers, upstream = await _askers(kind, load, port, connections)
    count = 0
    going = True

    async def work(ask: Ask) -> None:
        nonlocal count
        while going:
            await ask()
            count += 1

    tasks = [asyncio.ensure_future(work(ask)) for ask in askers]
    await asyncio.sleep(0.3)
    begun, before = count, _cpu()
    await asyncio.sleep(seconds)
    cost = (_cpu() - before) / max(count - begun, 1) * 1e6
    going = False
    await asyncio.gather(*tasks)
    if upstream is not None:
        await upstream.close()
    return cost


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    """Measure all transports in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loads", default="unary,burst,big")
    parser.add_argument("--kinds", default="bare,pool,aiohttp")
    chosen = parser.parse_args()
    loads, kinds = chosen.loads.split(","), chosen.kinds.split(",")
    cores = Cores()
    costs: dict[tuple[str, str], list[float]] = {(load, kind): [] for load in loads for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        origin = Tools(Path(folder), cores).start_upstream([port])
        os.sched_setaffinity(0, cores.target)
        try:
            for _ in range(chosen.rounds):
                for (load, kind), samples in costs.items():
                    samples.append(uvloop.run(_measure(kind, load, port, chosen.seconds)))
                    time.sleep(0.2)
        finally:
            origin.terminate()
            origin.wait(10)
    print(f"{'load':8}{'transport':12}{'CPU us a request':>18}{'of aiohttp':>12}{'own us':>9}")
    for (load, kind), samples in costs.items():
        cost = statistics.median(samples)
        peer = statistics.median(costs.get((load, "aiohttp"), [cost]))
        bare = statistics.median(costs.get((load, "bare"), [0.0]))
        print(f"{load:8}{kind:12}{cost:18.1f}{cost / peer:12.2f}{cost - bare:9.1f}")


if __name__ == "__main__":
    main()
