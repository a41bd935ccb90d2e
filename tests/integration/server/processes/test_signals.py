"""One wish to stop counts once, however many signals tell of it; SIGHUP reloads, unless the terminal is gone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from llm_gateway.server.processes.signals import StopSignals
from tests.fakes.standin_gateway import (
    ROOT,
    WORKERS,
    Gateway,
    Stream,
    get,
    until,
)


def test_signals_within_a_second_of_the_last_that_counted_are_the_same() -> None:
    signals = StopSignals()
    assert [signals.counts(at) for at in (10.0, 10.0, 10.5, 10.99, 11.0, 11.5, 12.0)] == [
        True, False, False, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_after_the_loop_is_closed_is_ignored(loop: str) -> None:
    program = f"""
import asyncio, os, signal, {loop}
from llm_gateway.server.processes.signals import handle_signal

async def main():
    told = asyncio.Event()
    handle_signal(signal.SIGHUP, asyncio.get_running_loop(), told.set)
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for(told.wait(), 10)

with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


@WORKERS
@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,) * 4, (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
def test_signals_to_the_whole_group_count_once(
    gateways: Callable[..., Gateway], workers: str, numbers: tuple[signal.Signals, ...]
) -> None:
    gateway = gateways(WORKERS=workers)
    stream = Stream(gateway.start())
    for number in numbers:
        os.killpg(gateway.process.pid, number)
        time.sleep(0.05)
    assert stream.end().endswith("end\n"), gateway.log()
    assert gateway.wait() == 0


def test_make_run_passes_on_what_the_group_got_and_streams_end_well(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="1")
    url = gateway.start()
    stream = Stream(url)
    # The group gets the signal, and `make` sends it again.
    os.killpg(gateway.process.pid, signal.SIGTERM)
    gateway.signal(signal.SIGTERM)
    assert stream.end().endswith("end\n")
    assert gateway.wait() == 0


@WORKERS
@pytest.mark.parametrize("to_group", [False, True])
def test_sighup_reloads_and_cuts_no_stream(
    gateways: Callable[..., Gateway], workers: str, to_group: bool
) -> None:
    gateway = gateways(WORKERS=workers)
    url = gateway.start()
    stream = Stream(url)
    if to_group:
        os.killpg(gateway.process.pid, signal.SIGHUP)
    else:
        gateway.signal(signal.SIGHUP)
    until(lambda: gateway.out.read_text().count("reloaded") >= int(workers), gateway)
    assert get(f"{url}/ready").status_code == 200
    gateway.signal(signal.SIGTERM)
    assert stream.end().endswith("end\n")
    # While it drains, there is nothing to reload.
    gateway.signal(signal.SIGHUP)
    assert gateway.wait() == 0


@WORKERS
def test_a_terminal_that_is_closed_ends_it(gateways: Callable[..., Gateway], workers: str) -> None:
    gateway = gateways(WORKERS=workers, STANDIN_LIMITS="{}")
    parent, child = pty.openpty()
    code = (
        "import fcntl, os, runpy, signal, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        # Whoever runs the tests may ignore it, as under nohup, and programs inherit that.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "runpy.run_module('tests.fakes.standin_program', run_name='__main__')"
    )
    with gateway.out.open("ab") as out, gateway.err.open("ab") as err:
        gateway.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=gateway.environment,
            stdin=child,
            stdout=out,
            stderr=err,
        )
    os.close(child)
    until(lambda: gateway.greeting.exists() and bool(gateway.greeting.read_text()), gateway)
    gateway.signal(signal.SIGHUP)
    until(lambda: "reloaded" in gateway.out.read_text(), gateway)
    os.close(parent)
    assert gateway.wait() == 0, gateway.log()
    assert "SIGHUP: finishing open requests" in gateway.log()


@WORKERS
def test_a_signal_in_the_last_moment_does_not_change_the_exit_code(
    gateways: Callable[..., Gateway], workers: str
) -> None:
    gateway = gateways(WORKERS=workers)
    gateway.start()
    gateway.signal(signal.SIGTERM)
    # Until it is gone, also while the interpreter ends: at any time there are milliseconds in which it does.
    while gateway.process.poll() is None:
        gateway.signal(signal.SIGHUP)
        time.sleep(0.001)
    assert gateway.process.returncode == 0
