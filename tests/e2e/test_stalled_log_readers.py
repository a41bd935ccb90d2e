"""A reader of the log that stalls, leaves, or has no room costs lines of the log, and nothing else."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Desk, Stores
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.script import error_script
from tests.fakes.upstream import FakeUpstream

Start = Callable[..., GatewayProcess]


class PipedGateway(GatewayProcess):
    """A gateway whose standard output and standard error are one descriptor of the test's."""

    output: int

    def launch(self) -> None:
        """Start it with both streams on `output`."""
        environment = {"PATH": os.environ["PATH"]} | self.settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llm_gateway", "serve"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )


@pytest.fixture
def start(tmp_path: Path, stores: Stores) -> Iterator[Start]:
    made: list[GatewayProcess] = []

    def begin(output: int, **settings: object) -> GatewayProcess:
        gateway = PipedGateway(tmp_path / str(len(made)), **settings)
        gateway.output = output
        made.append(gateway)
        return gateway.start()

    yield begin
    for gateway in made:
        gateway.kill()
        gateway.close()


def small_pipe() -> tuple[int, int]:
    """Return a pipe that a few lines fill."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def flood(desk: Desk, requests: int) -> None:
    """Cause more lines of both logs than a pipe holds."""
    for _ in range(requests):
        desk.chat()


@pytest.mark.parametrize(("workers", "form"), [(1, "text"), (2, "text"), (2, "json")])
def test_a_pipe_that_nobody_reads(start: Start, fake: FakeUpstream, workers: int, form: str) -> None:
    reading, writing = small_pipe()
    gateway = start(writing, WORKERS=workers, LOG_LEVEL="trace", MAX_RETRIES=0, LOG_FORMAT=form)
    os.close(writing)
    desk = Desk(gateway, fake)
    desk.provider()
    flood(desk, 60)
    for number in range(10):
        gateway.create_provider(
            f"other-{number}", "http://127.0.0.1:9/v1", model_mapping={"nothing": "nothing"}
        )
    for _ in range(20):
        begun = time.monotonic()
        assert gateway.http.get("/health", timeout=2).status_code == 200
        assert desk.chat().status_code == 200
        assert time.monotonic() - begun < 2
    gateway.terminate()
    assert gateway.wait(10) == 0
    os.close(reading)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_that_comes_back_is_told_what_it_missed(
    start: Start, fake: FakeUpstream, workers: int
) -> None:
    reading, writing = small_pipe()
    gateway = start(writing, WORKERS=workers)
    os.close(writing)
    desk = Desk(gateway, fake)
    desk.provider()
    flood(desk, 60)
    received = bytearray()

    def drain() -> None:
        while data := os.read(reading, 65536):
            received.extend(data)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    eventually(lambda: received.count(b'"endpoint":"/v1/chat/completions"'), lambda seen: seen == 60)
    gateway.terminate()
    assert gateway.wait(10) == 0
    reader.join(5)
    os.close(reading)
    assert b"SIGTERM" in received


def test_sigterm_is_obeyed_when_failures_have_filled_the_pipe(start: Start, fake: FakeUpstream) -> None:
    reading, writing = small_pipe()
    gateway = start(writing, WORKERS=2, DRAIN_TIMEOUT=60)
    os.close(writing)
    desk = Desk(gateway, fake)
    desk.failing(error_script(500))
    flood(desk, 60)
    gateway.terminate()
    assert gateway.wait(10) == 0
    os.close(reading)


@pytest.mark.parametrize(("workers", "form"), [(1, "text"), (2, "text"), (1, "json")])
def test_a_reader_that_left(start: Start, fake: FakeUpstream, workers: int, form: str) -> None:
    reading, writing = small_pipe()
    gateway = start(writing, WORKERS=workers, LOG_FORMAT=form)
    os.close(writing)
    os.close(reading)
    desk = Desk(gateway, fake)
    desk.provider()
    for _ in range(5):
        assert desk.chat().status_code == 200
    eventually(lambda: gateway.metrics("llm_gateway_dropped_log_lines_total"), lambda n: n >= 1)
    gateway.terminate()
    assert gateway.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_device_that_is_full(start: Start, fake: FakeUpstream, workers: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    gateway = start(full, WORKERS=workers)
    os.close(full)
    desk = Desk(gateway, fake)
    desk.failing(error_script(500))
    for _ in range(5):
        assert desk.chat().status_code >= 500
    eventually(lambda: gateway.metrics("llm_gateway_dropped_log_lines_total"), lambda n: n >= 1)
    gateway.terminate()
    assert gateway.wait(10) == 0


def test_a_supervisor_goes_on_with_a_full_pipe(start: Start, fake: FakeUpstream) -> None:
    reading, writing = small_pipe()
    gateway = start(writing, WORKERS=2)
    os.close(writing)
    desk = Desk(gateway, fake)
    desk.provider()
    flood(desk, 60)
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
    first = children.read_text().split()
    for pid in first:
        os.kill(int(pid), signal.SIGKILL)
    eventually(
        lambda: children.read_text().split(), lambda now: len(now) == 2 and not set(now) & set(first), 15
    )
    eventually(gateway.is_ready, bool, 15)
    gateway.terminate()
    assert gateway.wait(10) == 0
    os.close(reading)
