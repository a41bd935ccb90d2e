"""The load of load.c for machines without a C compiler: the same command line, the same line of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import cast

import httptools
import uvloop


class _Figures:
    def __init__(self) -> None:
        self.counting = False
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.events = self.bad_status = self.bad_end = self.broken = 0


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, figures: _Figures) -> None:
        self.request = request
        self.figures = figures

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport, but have its methods.
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.chunked = False
        self.tail = b""
        self.began = time.perf_counter()
        self.waits = True
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.figures.broken += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        del value
        self.chunked |= name.lower() == b"transfer-encoding"

    def on_body(self, body: bytes) -> None:
        if self.figures.counting:
            self.figures.events += body.count(b"data: ")
        seen = self.tail + body
        # The fake provider's content; the event with the role, before it, has none.
        if self.waits and self.chunked and b" token" in seen:
            self.waits = False
            if self.figures.counting:
                self.figures.firsts.append(time.perf_counter() - self.began)
        self.tail = seen[-32:]

    def on_message_complete(self) -> None:
        figures = self.figures
        if self.parser.get_status_code() // 100 != 2:
            figures.bad_status += 1
        elif self.chunked and b"[DONE]" not in self.tail:
            figures.bad_end += 1
        elif figures.counting:
            figures.latencies.append(time.perf_counter() - self.began)
        asyncio.get_running_loop().call_soon(self._send)


def _cpu_seconds(pids: list[str]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _press(
    port: int, connections: int, warm: float, seconds: float, request: bytes, pids: list[str]
) -> None:
    figures = _Figures()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(request, figures), "127.0.0.1", port)
        await asyncio.sleep(warm / connections / 2)
    await asyncio.sleep(warm / 2)
    figures.counting = True
    began, cpu = time.perf_counter(), _cpu_seconds(pids)
    await asyncio.sleep(seconds)
    took, used = time.perf_counter() - began, _cpu_seconds(pids) - cpu
    figures.counting = False
    latencies, firsts = sorted(figures.latencies) or [0.0], sorted(figures.firsts) or [0.0]
    print(
        json.dumps(
            {
                "requests": len(figures.latencies),
                "events": figures.events,
                "seconds": took,
                "cpu_seconds": used,
                "p50_us": latencies[len(latencies) // 2] * 1e6,
                "p99_us": latencies[len(latencies) * 99 // 100] * 1e6,
                "first_p99_us": firsts[len(firsts) * 99 // 100] * 1e6,
                "bad_status": figures.bad_status,
                "bad_end": figures.bad_end,
                "broken": figures.broken,
                "sample": "",
            }
        ),
        flush=True,
    )
    # Exit at once: the connections are in the middle of requests.
    os._exit(0)


if __name__ == "__main__":
    _port, _connections, _warm, _seconds, _file, *_pids = sys.argv[1:]
    _request = Path(_file).read_bytes()
    uvloop.run(_press(int(_port), int(_connections), float(_warm), float(_seconds), _request, _pids))
