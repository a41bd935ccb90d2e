"""The lock of a mapped file keeps processes apart, and none that is killed or stopped breaks it."""

from __future__ import annotations

import fcntl
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_gateway.infra.budgets.share_file import HOLDER, SINCE, ShareFile
from tests.fakes.compiled_parts import WAYS, Way, locking, program_locking

# What a program below counts with; two cells, which are equal whenever the lock is free.
COUNT, AGAIN = 40, 41

_JOIN = """
import os, sys, time
from pathlib import Path
from llm_gateway.infra.budgets.share_file import ShareFile
from llm_gateway.infra.shared_lock import wait_for_lock

folder = Path(sys.argv[1])
file = ShareFile(folder, "db", 1)
head, try_lock, unlock = file.head, file.try_lock, file.unlock
print("ready", flush=True)
"""
# Counts to the end, without a pause where another process could be let in.
_COUNTING = (
    _JOIN
    + """
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    while not try_lock():
        os.sched_yield()
    head[40] += 1
    head[41] += 1
    unlock()
file.close()
"""
)
# Takes the lock and keeps it.
_HOLDING = (
    _JOIN
    + """
sys.stdin.readline()
wait_for_lock(file.lock)
head[40] += 1
print("held", flush=True)
time.sleep(600)
"""
)
# Opens the file and closes it, until it is killed.
_OPENING = (
    _JOIN
    + """
while True:
    file.close()
    file = ShareFile(folder, "db", 1)
"""
)


class Process:
    def __init__(self, program: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Process]


@pytest.fixture(params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


@pytest.fixture
def start(lock_way: Way) -> Iterator[Start]:
    started: list[Process] = []

    def begin(program: str, *arguments: object) -> Process:
        process = Process(program_locking(lock_way, program), *arguments)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


@pytest.fixture
def file(tmp_path: Path, lock_way: Way) -> Iterator[ShareFile]:
    joined = ShareFile(tmp_path, "db", 1)
    yield joined
    joined.close()


def test_four_processes_count_together(tmp_path: Path, file: ShareFile, start: Start) -> None:
    each = 20_000
    processes = [start(_COUNTING, tmp_path, each) for _ in range(4)]
    for process in processes:
        process.wait_for("ready")
    for process in processes:
        process.go()
    assert [process.process.wait(120) for process in processes] == [0, 0, 0, 0]
    assert (file.head[COUNT], file.head[AGAIN]) == (4 * each, 4 * each)


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path: Path, file: ShareFile, start: Start) -> None:
    for count in range(1, 21):
        holder = start(_HOLDING, tmp_path)
        holder.wait_for("ready")
        holder.go()
        holder.wait_for("held")
        assert not file.try_lock()
        holder.kill()
        assert file.try_lock()
        assert file.head[COUNT] == count
        file.unlock()


def test_those_that_are_killed_anywhere_leave_no_more_than_one_half_done(
    tmp_path: Path, file: ShareFile, start: Start
) -> None:
    chance = random.Random(3)
    for _ in range(8):
        processes = [start(_COUNTING, tmp_path, 10**9) for _ in range(3)]
        for process in processes:
            process.wait_for("ready")
        for process in processes:
            process.go()
        time.sleep(chance.uniform(0.01, 0.1))
        before = file.head[COUNT]
        # One dies while the others count on.
        processes[0].kill()
        time.sleep(0.05)
        assert file.head[COUNT] > before
        for process in processes[1:]:
            process.kill()
        assert file.try_lock()
        # What each of them had begun.
        assert 0 <= file.head[COUNT] - file.head[AGAIN] <= 3
        file.head[AGAIN] = file.head[COUNT]
        file.unlock()


def test_a_stopped_holder_keeps_it(tmp_path: Path, file: ShareFile, start: Start) -> None:
    holder = start(_HOLDING, tmp_path)
    holder.wait_for("ready")
    holder.go()
    holder.wait_for("held")
    holder.process.send_signal(signal.SIGSTOP)
    assert not any(file.try_lock() for _ in range(200))
    with pytest.raises(BlockingIOError, match="is not released"), file.locked():
        pass
    holder.process.send_signal(signal.SIGCONT)
    assert not file.try_lock()
    holder.kill()
    assert file.try_lock()
    file.unlock()


def test_those_that_are_killed_while_they_open_it_leave_it_usable(
    tmp_path: Path, start: Start, lock_way: Way
) -> None:
    chance = random.Random(7)
    holders = set()
    for _ in range(10):
        processes = [start(_OPENING, tmp_path) for _ in range(2)]
        for process in processes:
            process.wait_for("ready")
        time.sleep(chance.uniform(0.0, 0.02))
        for process in processes:
            process.kill()
        file = ShareFile(tmp_path, "db", 1)
        assert file.try_lock()
        assert (file.worker, file.head[SINCE]) == (0, 1)
        holders.add(file.head[HOLDER])
        file.close()
    assert len(holders) == 1


def test_those_that_start_together_do_not_wait_for_each_other(tmp_path: Path, start: Start) -> None:
    holder = start(_HOLDING, tmp_path)
    holder.wait_for("ready")
    holder.go()
    holder.wait_for("held")
    # Nobody lives who could take the lock over.
    holder.kill()
    [path] = tmp_path.glob("*/shares")
    with path.open("rb") as shares:
        fcntl.flock(shares, fcntl.LOCK_EX)
        first, second = (_started_later(start, tmp_path) for _ in range(2))
        first.kill()
        # The number of the dead is the last one's, if it has one by now, and the second comes first.
        third = _started_later(start, tmp_path)
    second.wait_for("ready")
    third.wait_for("ready")


def _started_later(start: Start, folder: Path) -> Process:
    process = start(_JOIN, folder)
    time.sleep(1)
    return process


def test_a_start_waits_for_the_lock(tmp_path: Path, file: ShareFile, start: Start) -> None:
    assert file.try_lock()
    late = start(_JOIN, tmp_path)
    time.sleep(1)
    assert late.process.poll() is None
    file.unlock()
    late.wait_for("ready")
    assert late.process.wait(60) == 0
