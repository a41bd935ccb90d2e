"""Start, signals, workers and their deaths, with real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
# Generous: the machine may be busy.
SECONDS = 20.0


class Gateway:
    """One stand-in served in a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data_dir = folder / "data"
        self.greeting = folder / "url"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": "0",
            "DATA_DIR": str(self.data_dir),
            "STANDIN_URL": str(self.greeting),
            **environment,
        }
        self.out = folder / "out"
        self.err = folder / "err"
        self.process: subprocess.Popen[bytes]

    def launch(self) -> None:
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.standin_program"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def start(self) -> str:
        """Start, wait for every worker, and return the URL."""
        self.launch()
        until(self.greeting.exists, self)
        until(lambda: bool(self.greeting.read_text()), self)
        url = self.greeting.read_text()
        workers = int(self.environment.get("WORKERS", "1"))
        until(lambda: workers == 1 or len(pids(url)) == workers, self)
        return url

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def log(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def says(self, text: str) -> bool:
        return text in self.log()

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(SECONDS)


def until(ready: Callable[[], bool], gateway: Gateway | None = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not ready():
        ended = gateway is not None and gateway.process.poll() is not None
        if ended or time.monotonic() > deadline:
            raise AssertionError(gateway.log() if gateway is not None else "too late")
        time.sleep(0.01)


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(**environment: str) -> Gateway:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Gateway(folder, **environment))
        return made[-1]

    yield make
    for gateway in made:
        if hasattr(gateway, "process"):
            gateway.close()


class Stream:
    """A response that goes on until the server ends it, read in a thread."""

    def __init__(self, url: str, path: str = "/stream") -> None:
        self.begun = threading.Event()
        self.text = ""
        self.fault: Exception | None = None
        self.thread = threading.Thread(target=self._read, args=(url + path,), daemon=True)
        self.thread.start()
        assert self.begun.wait(SECONDS)

    def _read(self, url: str) -> None:
        try:
            with CLIENT.stream("GET", url) as response:
                for piece in response.iter_text():
                    self.text += piece
                    self.begun.set()
        except httpx.TransportError as fault:
            self.fault = fault

    def end(self) -> str:
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        return self.text


# One connection for each request.
CLIENT = httpx.Client(timeout=SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def get(url: str) -> httpx.Response:
    return CLIENT.get(url)


def pids(url: str, count: int = 20) -> set[int]:
    return {int(get(f"{url}/pid").text) for _ in range(count)}


def both(url: str, gone: int | None = None) -> set[int]:
    """Return the two workers' ids; who answers is their affair, so ask until both have."""
    seen: set[int] = set()

    def have_answered() -> bool:
        seen.update(pids(url) - {gone})
        return len(seen) == 2

    until(have_answered)
    return seen


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


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
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 128 + signal.SIGTERM
    assert "end" not in stream.end()
    # What was cut could still be recorded.
    assert gateway.out.read_text().count("put away") == int(workers)


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
    for said in ("starts in 0.5 s", "starts in 1 s"):
        victim = (both(url) - {stays}).pop()
        os.kill(victim, signal.SIGKILL)
        until(partial(gateway.says, said), gateway)
        # Nobody notices: the other worker takes what comes.
        assert pids(url) == {stays}
        both(url, gone=victim)


def test_workers_share_new_connections_evenly(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    clients = [httpx.Client(trust_env=False, verify=False) for _ in range(32)]
    try:
        counts = [client.get(f"{url}/pid").text for client in clients]
    finally:
        for client in clients:
            client.close()
    shares = sorted(counts.count(pid) for pid in set(counts))
    assert len(shares) == 2
    # Without the balanced acceptor one worker often gets all.
    assert shares[0] >= 8


def test_workers_go_when_the_supervisor_is_killed(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2")
    url = gateway.start()
    workers = both(url)
    os.kill(gateway.process.pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in workers))


def test_the_metrics_folder_is_new_for_every_boot_and_gone_after_it(gateways: Callable[..., Gateway]) -> None:
    first = gateways(WORKERS="2", PROMETHEUS_MULTIPROC_DIR="/nowhere")
    url = first.start()
    run = first.data_dir / "run"
    (killed,) = run.glob("metrics-*")
    assert get(f"{url}/environment").json()["PROMETHEUS_MULTIPROC_DIR"] == str(killed)
    second = gateways(WORKERS="2", DATA_DIR=str(first.data_dir))
    second.start()
    assert len(list(run.glob("metrics-*"))) == 2
    second.signal(signal.SIGTERM)
    second.wait()
    assert list(run.glob("metrics-*")) == [killed]
    os.killpg(first.process.pid, signal.SIGKILL)
    first.wait()
    third = gateways(WORKERS="2", DATA_DIR=str(first.data_dir))
    third.start()
    (current,) = run.glob("metrics-*")
    assert current != killed


def test_as_many_files_may_be_open_as_the_system_allows(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways()
    gateway.start()
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    (soft, hard) = re.findall(r"Max open files +(\d+) +(\d+)", limits)[0]
    assert soft == hard


def test_one_process_counts_by_itself(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(PROMETHEUS_MULTIPROC_DIR="/nowhere")
    assert "PROMETHEUS_MULTIPROC_DIR" not in get(f"{gateway.start()}/environment").json()


@WORKERS
@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [("prepare", 2, "cannot prepare"), ("start", 1, "the stand-in does not start")],
)
def test_what_cannot_start_says_so_and_ends(
    gateways: Callable[..., Gateway], workers: str, fault: str, code: int, said: str
) -> None:
    gateway = gateways(WORKERS=workers, STANDIN_FAULT=fault)
    gateway.launch()
    assert gateway.wait() == code
    assert said in gateway.log()
    assert "Traceback" not in gateway.log()


def test_workers_that_crash_before_serving_end_the_gateway(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(WORKERS="2", STANDIN_FAULT="worker")
    gateway.launch()
    assert gateway.wait() == 9
    assert "A worker could not start" in gateway.log()


@WORKERS
def test_a_taken_port_is_named(gateways: Callable[..., Gateway], workers: str) -> None:
    with taken_port() as port:
        gateway = gateways(WORKERS=workers, PORT=str(port))
        gateway.launch()
        assert gateway.wait() == 2
        assert f"HOST=127.0.0.1 PORT={port}" in gateway.log()


def test_an_address_that_is_not_ours_is_named(gateways: Callable[..., Gateway]) -> None:
    gateway = gateways(HOST="192.0.2.1")
    gateway.launch()
    assert gateway.wait() == 2
    assert "HOST=192.0.2.1 is not an address of this machine" in gateway.log()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
