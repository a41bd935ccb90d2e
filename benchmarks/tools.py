"""Builds and runs the fake provider and the load: in C where there is a compiler, else in Python."""

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
    """A measurement that must not be used; the message says why."""


class LoadFailed(BenchmarkFailed):
    """A target did not do what a load asked of it; the message counts."""


@dataclass(frozen=True)
class Sample:
    """What one window showed; `cpu_seconds` is the target's."""

    requests: int
    events: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    # To a stream's first event, of those that began within the window; 0 when none did.
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
        """Start the fake provider on all `ports`, its paced streams as given, and return when it listens."""
        command = [*self._commands["upstream"], *map(str, [pace_us, chunks, *ports])]
        started = self._cores.spawn(self._cores.tools, command, stdout=subprocess.PIPE)
        assert started.stdout is not None
        if started.stdout.readline() != b"ready\n":
            raise BenchmarkFailed("the fake provider did not start")
        return started

    def measure(
        self, port: int, request: bytes, pids: list[int], *, connections: int, warm: float, seconds: float
    ) -> Sample:
        """Press `port` for `warm` and then `seconds`, and return what the second part showed."""
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
            # It says why on standard error: as a rule, that nobody listens any more.
            raise LoadFailed("no connection")
        return _judged(json.loads(output))


_FAULTS = {"bad_status": "not 2xx", "bad_end": "without an end", "broken": "cut off"}


def _judged(seen: dict[str, Any]) -> Sample:
    faults = [f"{seen[name]:,} {words}" for name, words in _FAULTS.items() if seen[name]]
    if faults:
        # Whole ones are counted within the window alone.
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
