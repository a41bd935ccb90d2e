"""What every gateway under measurement has to offer, so that one table can hold them all."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.machine import Cores, with_children

WEIGHTS = (3, 2, 1)


@dataclass
class Running:
    """A started target; `start_seconds` is from its start to its first good answer, if that was measured."""

    process: subprocess.Popen[bytes]
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    start_seconds: float | None = None

    def pids(self) -> list[int]:
        """Return every process whose time counts."""
        return with_children(self.process.pid)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Target(Protocol):
    """One gateway."""

    name: str

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        """Start it with one provider for each port, weighted WEIGHTS, and return when it answers."""
