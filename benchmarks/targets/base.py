"""The interface of every measured gateway."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from benchmarks.machine import Cores, end, family
from benchmarks.tools import BenchmarkFailed

WEIGHTS = (3, 2, 1)


@dataclass
class Running:
    """A started target; `start_seconds` is the time to its first successful answer, if measured."""

    process: subprocess.Popen[bytes]
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    start_seconds: float | None = None

    def pids(self) -> list[int]:
        """Return the processes whose time is measured."""
        return family(self.process.pid)

    def stop(self) -> None:
        """End it and its descendants."""
        end(self.process)


class Target(Protocol):
    """One gateway."""

    @property
    def name(self) -> str:
        """Return its name in tables and options."""

    @property
    def version(self) -> str:
        """Return the measured version, or "" for the version that the system has."""

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it with one provider per port, weighted WEIGHTS, and return when it answers."""


class Peer(Target, Protocol):
    """Another gateway, installed on demand."""

    def install(self) -> None:
        """Install it into its own folder; raise BenchmarkFailed if that fails."""


def spawn(
    command: list[str | Path], *, port: int, folder: Path, cores: Cores, settings: dict[str, str]
) -> Running:
    """Start a target in a process group of its own, its output in `folder`, with only `settings` from outside."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
        process = cores.spawn(
            cores.target,
            command,
            env=kept | {"HOME": str(folder)} | settings,
            cwd=folder,
            stdout=out,
            stderr=err,
            leads_group=True,
        )
    return Running(process, port)


def await_first_answer(name: str, running: Running, folder: Path, patience: float = 60.0) -> Running:
    """Send requests until a chat completion succeeds, and record the time; on failure end the target and raise."""
    began = time.monotonic()
    try:
        await_ok(name, lambda: _chat(running), running, folder, patience)
    except BaseException:
        # It leads its own process group, so Ctrl-C does not reach it.
        running.stop()
        raise
    running.start_seconds = time.monotonic() - began
    return running


def await_ok(name: str, ask: Callable[[], int], running: Running, folder: Path, patience: float) -> None:
    """Call `ask` until it returns 200; raise BenchmarkFailed, with the log's end, after `patience` seconds."""
    deadline = time.monotonic() + patience
    status: object = None
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            status = ask()
        except httpx.TransportError as fault:
            status = type(fault).__name__
        if status == 200:
            return
        time.sleep(0.005)
    logs = (
        (folder / f"{stream}.log").read_text("utf-8", "replace")[-1500:] for stream in ("stdout", "stderr")
    )
    log = "".join(logs).strip()
    raise BenchmarkFailed(f"{name} did not start (last: {status}):\n{log}")


def _chat(running: Running) -> int:
    url = f"http://127.0.0.1:{running.port}/v1/chat/completions"
    body = {"model": "unary-bench", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(url, headers=running.headers, json=body, trust_env=False, timeout=5).status_code
