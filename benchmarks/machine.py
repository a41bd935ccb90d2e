"""Processor cores, process memory and free ports of the machine."""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class Cores:
    """Separates the target from the load generator, if there are two cores."""

    def __init__(self, *, spread: bool = False) -> None:
        """Split the cores that this process may use; `spread` lets the target run on all of them."""
        usable = sorted(os.sched_getaffinity(0))
        self.target = set(usable) if spread else {usable[-1]}
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
        leads_group: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a program that may only run on `cores`, its later threads and children included.

        With `leads_group` it gets a process group of its own, by which everything that it starts is found.
        """
        os.sched_setaffinity(0, cores)
        try:
            return subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=leads_group,
            )
        finally:
            os.sched_setaffinity(0, self._usable)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name, from the state on; None if the process has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def with_children(pid: int) -> list[int]:
    """Return a process and all its descendants, including those that other threads started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                found += with_children(int(child))
    return found


def family(leader: int) -> list[int]:
    """Return a process, its descendants, and the other members of the process group that it leads."""
    found = with_children(leader)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in found:
            stat = _stat(int(entry.name))
            if stat is not None and stat[0] != "Z" and int(stat[2]) == leader:
                found.append(int(entry.name))
    return found


def end(process: subprocess.Popen[bytes], patience: float = 20.0) -> None:
    """End a process and its family by pid: with SIGTERM, and after `patience` seconds with SIGKILL."""
    # Pids are reused: the start time shows whether it is still the same process.
    born = {pid: stat[19] for pid in family(process.pid) if (stat := _stat(pid)) is not None}
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in born if _is_alive(pid, born[pid])]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, wanted)
        deadline = time.monotonic() + 3
        while any(_is_alive(pid, born[pid]) for pid in left) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.02)
    process.wait()


def _is_alive(pid: int, born: str) -> bool:
    stat = _stat(pid)
    return stat is not None and stat[0] != "Z" and stat[19] == born


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time, user and system, that the processes have used."""
    stats = [stat for pid in pids if (stat := _stat(pid)) is not None]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def await_quiet(pids: Iterable[int], patience: float) -> bool:
    """Wait until the processes use almost no processor time; return whether they became idle."""
    pids = list(pids)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = cpu_seconds(pids)
        time.sleep(0.2)
        # Two ticks of 10 ms.
        if cpu_seconds(pids) - before <= 0.02:
            return True
    return False


def allow_open_files() -> int:
    """Raise this process's limit of open files, which its children inherit, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def resident_mb(pids: Iterable[int]) -> float:
    """Return the processes' resident memory in MB, with shared pages counted in each process."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


@contextmanager
def highest_memory(pids: list[int], seconds: float = math.inf) -> Iterator[Callable[[], float]]:
    """Watch the processes' memory, for `seconds` at most; the yielded function returns the highest seen, in MB."""
    seen = [0.0]
    done = threading.Event()
    end = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(0.1) and time.monotonic() < end:
            seen.append(resident_mb(pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(seen)
    finally:
        done.set()
        watcher.join()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
