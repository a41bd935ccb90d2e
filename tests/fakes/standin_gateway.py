"""The stand-in program, served in processes of its own, and what a test asks of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
