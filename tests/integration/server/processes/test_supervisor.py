"""Workers that exit are replaced, and end with their supervisor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

from tests.fakes.standin_gateway import (
    Gateway,
    Stream,
    both,
    is_alive,
    pids,
    until,
)


def test_a_killed_worker_is_replaced_and_the_others_go_on(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    before = both(url)
    streams = [Stream(url) for _ in range(4)]
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    assert before < both(url, gone=victim)
    assert victim not in pids(url)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    ends = [stream.end().endswith("end\n") for stream in streams]
    # The victim's were cut, the other's were not.
    assert ends.count(False) == sum(stream.fault is not None for stream in streams)
    assert 1 <= ends.count(True) < len(streams)
    assert f"Worker {victim} was killed by signal 9" in gateway.log()
    assert gateway.out.read_text().count("greeted") == 1


def test_a_worker_that_dies_young_again_waits_longer(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    stays = min(both(url))
    for said in ("restarting in 0.5 s", "restarting in 1 s"):
        victim = (both(url) - {stays}).pop()
        os.kill(victim, signal.SIGKILL)
        until(partial(gateway.says, said), gateway)
        # Nobody notices: the other worker takes what comes.
        assert pids(url) == {stays}
        both(url, gone=victim)


def test_workers_go_when_the_supervisor_is_killed(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    workers = both(url)
    os.kill(gateway.process.pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in workers))


def test_workers_that_crash_before_serving_end_the_gateway(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2", STANDIN_FAULT="worker")
    gateway.launch()
    assert gateway.wait() == 9
    assert "A worker could not start" in gateway.log()
