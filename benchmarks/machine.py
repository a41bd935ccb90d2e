"""What the measurements need of the machine: processor cores, process memory, free ports."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO


class Cores:
    """Keeps what is measured apart from what measures it, where there are two cores."""

    def __init__(self) -> None:
        """Split the cores that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        self.target = {usable[-1]}
        self.tools = set(usable[:-1][:1]) or self.target
        self._usable = set(usable)

    def spawn(
        self,
        cores: set[int],
        command: Sequence[str | Path],
        *,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that may only run on `cores`, its later threads and children included."""
        os.sched_setaffinity(0, cores)
        try:
            return subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
        finally:
            os.sched_setaffinity(0, self._usable)


def with_children(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += with_children(int(child))
    return found


def resident_mb(pids: Iterable[int]) -> float:
    """Return the processes' resident memory in MB, shared pages counted once for each."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
