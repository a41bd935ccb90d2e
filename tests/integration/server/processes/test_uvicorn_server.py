"""Signals drain the server, then close what is open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import httpx
import pytest

from tests.fakes.standin_gateway import (
    WORKERS,
    Gateway,
    Stream,
    get,
    until,
)


@WORKERS
def test_sigterm_lets_streams_end_with_the_door_open(gateways: Callable[..., Gateway], workers: str) -> None:
    gateway = gateways(WORKERS=workers)
    url = gateway.start()
    assert get(f"{url}/ready").status_code == 200
    stream = Stream(url)
    gateway.signal(signal.SIGTERM)
    if workers == "1":
        until(lambda: get(f"{url}/ready").status_code == 503)
        assert get(f"{url}/ready").headers.get("connection") == "close"
    # Of two workers the idle one leaves at once, and may have a new connection in its hands.
    assert stream.end().endswith("end\n")
    assert gateway.wait() == 0
    assert gateway.out.read_text().count("put away") == int(workers)
    with pytest.raises(httpx.ConnectError):
        get(f"{url}/ready")


@WORKERS
def test_sigint_ends_it_too(gateways: Callable[..., Gateway], workers: str) -> None:
    gateway = gateways(WORKERS=workers)
    gateway.start()
    # As a terminal does: to everyone.
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert gateway.wait() == 0


@WORKERS
def test_a_drain_that_takes_too_long_is_cut(gateways: Callable[..., Gateway], workers: str) -> None:
    gateway = gateways(WORKERS=workers, DRAIN_TIMEOUT="0.1")
    stream = Stream(gateway.start(), "/endless")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert "end" not in stream.end()
    assert isinstance(stream.fault, httpx.RemoteProtocolError)
    assert gateway.out.read_text().count("put away") == int(workers)


@WORKERS
def test_a_second_sigterm_forces(gateways: Callable[..., Gateway], workers: str) -> None:
    gateway = gateways(WORKERS=workers)
    stream = Stream(gateway.start(), "/endless")
    gateway.signal(signal.SIGTERM)
    until(lambda: "finishing open requests" in gateway.log(), gateway)
    time.sleep(1.1)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 128 + signal.SIGTERM
    assert "end" not in stream.end()
    # What was cut could still be recorded.
    assert gateway.out.read_text().count("put away") == int(workers)
