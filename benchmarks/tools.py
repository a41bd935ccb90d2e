"""Builds and runs the fake provider and the load generator: in C if there is a compiler, else in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Cores
from benchmarks.scenarios import PACE_US, PACED_CHUNKS

_HERE = Path(__file__).parent


class BenchmarkFailed(Exception):
    """The measurement is invalid; the message says why."""


class LoadFailed(BenchmarkFailed):
    """A target failed under a load; the message has the numbers."""


@dataclass(frozen=True)
class Sample:
    """The figures of one window; `cpu_seconds` is the target's."""

    requests: int
    events: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    # Time to the first event, of streams that began within the window; 0 if none did.
    first_p99_us: float


class Tools:
    """The two programs, ready to run."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        """Compile into `folder`."""
        self._folder = folder
        self._cores = cores
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        self.native = compiler is not None
        self._commands: dict[str, list[str]] = {}
        for name in ("upstream", "load"):
            if compiler is None:
                self._commands[name] = [sys.executable, str(_HERE / f"fallback_{name}.py")]
                continue
            binary = folder / name
            subprocess.run([compiler, "-O2", "-o", binary, _HERE / f"{name}.c"], check=True, timeout=120)
            self._commands[name] = [str(binary)]

    def start_upstream(
        self, ports: list[int], pace_us: int = PACE_US, chunks: int = PACED_CHUNKS
    ) -> subprocess.Popen[bytes]:
        """Start the fake provider on all `ports`, with paced streams as given, and return when it listens."""
        command = [*self._commands["upstream"], *map(str, [pace_us, chunks, *ports])]
        started = self._cores.spawn(self._cores.tools, command, stdout=subprocess.PIPE)
        assert started.stdout is not None
        if started.stdout.readline() != b"ready\n":
            raise BenchmarkFailed("the fake provider did not start")
        return started

    def measure(
        self, port: int, request: bytes, pids: list[int], *, connections: int, warm: float, seconds: float
    ) -> Sample:
        """Run the load on `port` for `warm` and then `seconds`; return the figures of the second part."""
        file = self._folder / "request"
        file.write_bytes(request)
        arguments = [port, connections, warm, seconds, file, *pids]
        command = [*self._commands["load"], *map(str, arguments)]
        running = self._cores.spawn(self._cores.tools, command, stdout=subprocess.PIPE)
        try:
            output, _ = running.communicate(timeout=warm + seconds + 60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            raise LoadFailed("the load did not end in time") from None
        if running.returncode != 0:
            # The reason is on standard error, usually a refused connection.
            raise LoadFailed("no connection")
        return _judged(json.loads(output))


_FAULTS = {"bad_status": "not 2xx", "bad_end": "without an end", "broken": "cut off"}


def _judged(seen: dict[str, Any]) -> Sample:
    faults = [f"{seen[name]:,} {words}" for name, words in _FAULTS.items() if seen[name]]
    if faults:
        # Only replies that end within the window are counted.
        sample = f" ({seen['sample']})" if seen.get("sample") else ""
        raise LoadFailed(f"{', '.join(faults)}{sample}; {seen['requests']:,} whole")
    if not seen["requests"] and not seen["events"]:
        raise LoadFailed("no reply within the window")
    return Sample(
        requests=int(seen["requests"]),
        events=int(seen["events"]),
        seconds=seen["seconds"],
        cpu_seconds=seen["cpu_seconds"],
        p50_us=seen["p50_us"],
        p99_us=seen["p99_us"],
        first_p99_us=seen["first_p99_us"],
    )
