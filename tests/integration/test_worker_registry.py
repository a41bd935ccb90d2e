"""Workers see one another's versions and requests in flight, and ignore those that have exited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_gateway.infra import worker_registry
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.worker_registry import FileWorkerRegistry

# A worker that does as it is told, a line at a time.
_WORKER = """
import sys
from pathlib import Path
from llm_gateway.infra.worker_registry import FileWorkerRegistry

registry = FileWorkerRegistry(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    method, *arguments = line.split()
    print(getattr(registry, method)(*map(int, arguments)), flush=True)
"""


class Worker:
    """A process with a registry."""

    def __init__(self, directory: Path, namespace: str = "db") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(directory), namespace],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, method: str, *arguments: int) -> str:
        assert self.process.stdin
        print(method, *arguments, file=self.process.stdin, flush=True)
        return self._read()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
        self.process.kill()
        self.process.wait(10)

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    workers: list[Worker] = []

    def start_worker(namespace: str = "db") -> Worker:
        workers.append(Worker(tmp_path, namespace))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.end()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FileWorkerRegistry]:
    registry = FileWorkerRegistry(tmp_path, "db")
    yield registry
    registry.close()


def soon(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_c21_laggards_are_the_live_workers_that_serve_an_older_version(
    registry: FileWorkerRegistry, start: Start
) -> None:
    one, two, starting = start(), start(), start()
    registry.publish_version(7)
    one.ask("publish_version", 7)
    two.ask("publish_version", 6)
    # Who published nothing yet does not serve.
    assert starting.ask("stale_workers", 7) == f"({two.pid},)"
    assert registry.stale_workers(7) == (two.pid,)
    assert registry.stale_workers(6) == ()
    assert sorted(registry.stale_workers(8)) == sorted((os.getpid(), one.pid, two.pid))
    two.ask("publish_version", 8)
    assert registry.stale_workers(7) == ()
    one.kill()
    assert registry.stale_workers(8) == (os.getpid(),)


def test_the_live_workers_are_listed_oldest_first(registry: FileWorkerRegistry, start: Start) -> None:
    one, two = start(), start()
    one.ask("publish_version", 7)
    one.ask("try_enter", 5)
    workers = registry.workers()
    assert [(worker.pid, worker.version, worker.active) for worker in workers] == [
        (os.getpid(), None, 0),
        (one.pid, 7, 1),
        (two.pid, None, 0),
    ]
    started = [worker.started_at or 0 for worker in workers]
    assert started == sorted(started)
    assert time.time() - 600 < started[0] / 1e6 < started[-1] / 1e6 <= time.time()
    one.kill()
    assert [worker.pid for worker in registry.workers()] == [os.getpid(), two.pid]
    again = start()
    assert [(worker.pid, worker.version) for worker in registry.workers()] == [
        (os.getpid(), None),
        (two.pid, None),
        (again.pid, None),
    ]


def test_all_workers_know_when_metrics_were_read_and_a_provider_was_tested(
    registry: FileWorkerRegistry, start: Start
) -> None:
    assert (registry.metrics_read_at(), registry.provider_tested_at()) == (None, None)
    other = start()
    begun = time.time_ns() // 1000
    other.ask("note_metrics_read")
    read_at = registry.metrics_read_at()
    assert read_at is not None
    assert begun <= read_at <= time.time_ns() // 1000
    assert registry.provider_tested_at() is None
    registry.note_provider_tested()
    assert int(other.ask("provider_tested_at")) == registry.provider_tested_at()
    # Not part of any worker's slot.
    assert [worker.active for worker in registry.workers()] == [0, 0]
    other.kill()
    assert registry.metrics_read_at() == read_at


def test_a_closed_registry_lists_nobody(tmp_path: Path) -> None:
    registry = FileWorkerRegistry(tmp_path)
    registry.close()
    assert registry.workers() == ()


def test_a_worker_that_serves_version_0_can_be_late(registry: FileWorkerRegistry) -> None:
    assert registry.stale_workers(1) == ()
    registry.publish_version(0)
    assert registry.stale_workers(1) == (os.getpid(),)


def test_c21_the_highest_announced_version_is_seen_by_all_and_outlives_who_announced_it(
    registry: FileWorkerRegistry, start: Start
) -> None:
    one, two = start(), start()
    assert registry.announced_version() == 0
    one.ask("announce_version", 12)
    two.ask("announce_version", 11)
    registry.announce_version(4)
    assert {
        registry.announced_version(),
        int(one.ask("announced_version")),
        int(two.ask("announced_version")),
    } == {12}
    one.kill()
    respawned = start()
    assert respawned.ask("announced_version") == "12"
    respawned.ask("announce_version", 3)
    assert registry.announced_version() == 12


def test_c39_requests_in_flight_count_across_the_machine(registry: FileWorkerRegistry, start: Start) -> None:
    one = start()
    assert [one.ask("try_enter", 5) for _ in range(3)] == ["True"] * 3
    assert soon(lambda: registry.active() == 3)
    assert [registry.try_enter(5) for _ in range(3)] == [True, True, False]
    assert one.ask("try_enter", 5) == "False"
    one.ask("leave")
    assert registry.try_enter(5)
    registry.leave()
    assert (registry.active(), one.ask("active")) == (4, "4")


def test_c39_what_a_killed_worker_had_in_flight_is_gone_within_a_second(
    registry: FileWorkerRegistry, start: Start
) -> None:
    one = start()
    for _ in range(5):
        one.ask("try_enter", 5)
    assert soon(lambda: not registry.try_enter(5))
    one.kill()
    assert soon(lambda: registry.try_enter(5), seconds=1.0)
    assert registry.active() == 1
    # Its slot is another's now, who starts from nought.
    respawned = start()
    assert soon(lambda: respawned.ask("active") == "1")
    assert registry.active() == 1


def test_a_stopped_worker_still_counts(registry: FileWorkerRegistry, start: Start) -> None:
    one = start()
    one.ask("try_enter", 5)
    one.ask("publish_version", 1)
    one.process.send_signal(signal.SIGSTOP)
    assert soon(lambda: registry.active() == 1)
    assert registry.stale_workers(2) == (one.pid,)
    one.process.send_signal(signal.SIGCONT)


def test_a_board_that_nobody_holds_starts_clean(tmp_path: Path, start: Start) -> None:
    one = start()
    one.ask("announce_version", 99)
    one.ask("try_enter", 5)
    one.kill()
    registry = FileWorkerRegistry(tmp_path, "db")
    assert (registry.announced_version(), registry.active(), registry.stale_workers(99)) == (0, 0, ())
    registry.close()


def test_databases_have_boards_of_their_own(tmp_path: Path, start: Start) -> None:
    other = start("another")
    other.ask("announce_version", 99)
    other.ask("publish_version", 1)
    other.ask("try_enter", 5)
    registry = FileWorkerRegistry(tmp_path, "db")
    assert (registry.announced_version(), registry.active(), registry.stale_workers(99)) == (0, 0, ())
    registry.close()


def test_slots_of_the_dead_are_used_again(registry: FileWorkerRegistry, start: Start, soak: bool) -> None:
    for _ in range(200 if soak else 4):
        pair = start(), start()
        for worker in pair:
            worker.ask("try_enter", 9)
            worker.kill()
    assert registry._cells[worker_registry._USED] <= 5
    assert soon(lambda: registry.active() == 0, seconds=1.0)


def test_several_boards_in_one_process_are_several_workers(tmp_path: Path) -> None:
    now = 0.0
    registries = [FileWorkerRegistry(tmp_path, clock=lambda: now) for _ in range(3)]
    assert [registry.try_enter(9) for registry in registries] == [True, True, True]
    now = 1.0
    assert [registry.active() for registry in registries] == [3, 3, 3]
    registries[1].close()
    now = 2.0
    assert [registry.active() for registry in (registries[0], registries[2])] == [2, 2]
    for registry in registries:
        registry.close()


def test_after_close_nothing_is_said_to_others(registry: FileWorkerRegistry, tmp_path: Path) -> None:
    closed = FileWorkerRegistry(tmp_path, "db")
    assert closed.try_enter(5)
    closed.close()
    closed.close()
    successor = FileWorkerRegistry(tmp_path, "db")
    # A request that ends late must not change a number that is another's now.
    closed.leave()
    closed.publish_version(1)
    closed.announce_version(9)
    assert (closed.active(), closed.announced_version(), closed.stale_workers(5)) == (0, 0, ())
    assert (successor.active(), successor.announced_version(), successor.stale_workers(5)) == (0, 0, ())
    successor.close()


def test_leaving_more_often_than_entering_lends_no_room(registry: FileWorkerRegistry) -> None:
    registry.leave()
    assert registry.active() == 0
    assert [registry.try_enter(1), registry.try_enter(1)] == [True, False]


def test_the_number_in_flight_is_looked_up_where_it_is_cheap(tmp_path: Path) -> None:
    now = 0.0
    registry = FileWorkerRegistry(tmp_path, clock=lambda: now)
    looks = 0
    find_live_workers = registry._find_live_workers

    def count_looks() -> None:
        nonlocal looks
        looks += 1
        find_live_workers()

    registry._find_live_workers = count_looks  # type: ignore[method-assign]
    for _ in range(1000):
        registry.try_enter(5000)
    assert looks == 1
    now = 0.11
    registry.try_enter(5000)
    assert looks == 2
    registry.close()


def test_a_full_registry_is_a_startup_error(tmp_path: Path) -> None:
    registries = [FileWorkerRegistry(tmp_path, max_workers=2) for _ in range(2)]
    with pytest.raises(StartupError, match=r"2 worker processes already share .* DATA_DIR"):
        FileWorkerRegistry(tmp_path, max_workers=2)
    registries[0].close()
    FileWorkerRegistry(tmp_path, max_workers=2).close()
    registries[1].close()


def test_a_folder_that_cannot_be_used_is_a_startup_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="DATA_DIR"):
        FileWorkerRegistry(tmp_path / "file")


def test_close_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs Linux to count descriptors")
    before = set(descriptors.iterdir())
    now = 0.0
    registries = [FileWorkerRegistry(tmp_path, clock=lambda: now) for _ in range(3)]
    now = 1.0
    for registry in registries:
        registry.active()
    for registry in registries:
        registry.close()
    assert set(descriptors.iterdir()) == before
