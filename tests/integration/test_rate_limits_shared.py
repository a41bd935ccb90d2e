"""Workers of one machine share a limit exactly, and a killed one neither breaks nor blocks it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from llm_gateway.infra.rate_limits import make_rate_limiter, shared
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.ring import OWNER, RING_SIZE, WINDOW
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from llm_gateway.infra.startup_error import StartupError
from tests.fakes.compiled_parts import WAYS, Way, locking, program_locking

_DESCRIPTORS = Path("/proc/self/fd")

# One admission as a worker below writes it: when, under which limit.
_RECORD = struct.Struct("qq")

# A worker that takes what it can get, and writes down each admission at once.
_WORKER = """
import asyncio, itertools, os, struct, sys, time
from pathlib import Path
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter

moment = 0
def clock():
    global moment
    moment = time.monotonic_ns()
    return moment

async def work(directory, out, limits, seconds):
    limiter = SharedRateLimiter(Path(directory), clock=clock)
    out = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    end = time.monotonic() + seconds
    for turn, limit in enumerate(itertools.cycle(limits)):
        verdict = await limiter.hit(7, limit)
        if verdict.allowed:
            os.write(out, struct.pack("qq", moment, limit))
        if turn % 20 == 0:
            await asyncio.sleep(0)
            if time.monotonic() > end:
                break
    assert limiter.sharing.unshared == 0, limiter.sharing.unshared
    await limiter.close()

directory, out, limits, seconds = sys.argv[1:5]
arguments = (directory, out, [int(limit) for limit in limits.split(",")], float(seconds))
"""
_ONE_WORKER = _WORKER + "asyncio.run(work(*arguments))"
# Lets workers live for a few milliseconds each, and kills them wherever they are.
_KILLS = (
    _WORKER
    + """
import random, signal
random.seed(11)
for number in range(int(sys.argv[5])):
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            asyncio.run(work(*arguments))
            os._exit(0)
        children.append(child)
    time.sleep(random.uniform(0.003, 0.02))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""
)


@pytest.fixture(params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


class ManualTime:
    def __init__(self) -> None:
        self.now = 5 * 10**12

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(sink)


def start_worker(
    directory: Path, number: int, limits: str, seconds: float, way: Way
) -> subprocess.Popen[bytes]:
    arguments = [str(directory), str(directory / f"admitted-{number}"), limits, str(seconds)]
    return subprocess.Popen([sys.executable, "-c", program_locking(way, _ONE_WORKER), *arguments])


def admissions(directory: Path) -> list[tuple[int, int]]:
    """Return (when, limit) of all that any worker wrote down, in order."""
    found: list[tuple[int, int]] = []
    for file in directory.glob("admitted-*"):
        written = file.read_bytes()
        found += _RECORD.iter_unpack(written[: len(written) // _RECORD.size * _RECORD.size])
    return sorted(found)


def assert_rule_kept(admitted: list[tuple[int, int]]) -> None:
    window: deque[int] = deque()
    for moment, limit in admitted:
        while window and moment - window[0] >= WINDOW:
            window.popleft()
        window.append(moment)
        assert len(window) <= limit


def test_c7_four_processes_admit_what_one_would_though_one_is_killed(tmp_path: Path, lock_way: Way) -> None:
    limit, seconds = 50, 2.0
    workers = [
        start_worker(tmp_path, number, str(limit), seconds + (60 if number == 0 else 0), lock_way)
        for number in range(4)
    ]
    deadline = time.monotonic() + 30
    while not admissions(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds / 2)
    workers[0].send_signal(signal.SIGKILL)
    killed_at = time.monotonic_ns()
    assert [worker.wait(60) for worker in workers] == [-signal.SIGKILL, 0, 0, 0]
    admitted = admissions(tmp_path)
    assert_rule_kept(admitted)
    first = admitted[0][0]
    # All that the rule allows was had, but for what the killed one may not have written down.
    assert sum(moment - first < WINDOW for moment, _ in admitted) >= limit - 1
    assert sum(moment > killed_at for moment, _ in admitted) >= limit // 2


@pytest.mark.timeout(1500)
def test_c7_kills_anywhere_let_none_too_many_through_and_block_nobody(
    tmp_path: Path, soak: bool, lock_way: Way
) -> None:
    rounds = "600" if soak else "40"
    # Limits that differ make workers rebuild the ring all the time, the second in groups.
    command = [
        sys.executable,
        "-c",
        program_locking(lock_way, _KILLS),
        str(tmp_path),
        str(tmp_path / "admitted-all"),
        "40,1200",
        "60",
        rounds,
    ]
    assert subprocess.run(command, check=False, timeout=1400).returncode == 0
    admitted = admissions(tmp_path)
    assert len(admitted) > 40
    assert_rule_kept(admitted)

    async def survive() -> int:
        limiter = SharedRateLimiter(tmp_path)
        await asyncio.sleep(1)
        # A ring that was torn while it was rebuilt holds back for one second more.
        await asyncio.sleep((await limiter.hit(7, 60)).retry_after)
        admitted = sum([(await limiter.hit(7, 60)).allowed for _ in range(70)])
        await limiter.close()
        return admitted

    assert asyncio.run(survive()) in {59, 60}


async def test_the_file_grows_and_idle_slots_are_used_again(tmp_path: Path) -> None:
    time = ManualTime()
    workers = [SharedRateLimiter(tmp_path, clock=time) for _ in range(2)]
    for generation in range(5):
        for credential_id in range(generation * 150 + 1, generation * 150 + 151):
            for worker in workers:
                assert (await worker.hit(credential_id, 2)).allowed
            assert not (await workers[0].hit(credential_id, 2)).allowed
        time.now += 11 * WINDOW
    assert workers[0]._head[shared._SLOTS] <= 300
    # Who lost a slot gets another, and its workers agree on it.
    for credential_id in (1, 2, 700):
        assert [(await worker.hit(credential_id, 1)).allowed for worker in workers] == [True, False]
    for worker in workers:
        assert not worker.sharing.unshared
        await worker.close()


async def test_a_busy_slot_is_never_taken_away(tmp_path: Path) -> None:
    time = ManualTime()
    worker = SharedRateLimiter(tmp_path, clock=time)
    for credential_id in range(1, 301):
        assert (await worker.hit(credential_id, 1)).allowed
        time.now += WINDOW // 400
    for credential_id in range(1, 301):
        assert not (await worker.hit(credential_id, 1)).allowed
    await worker.close()


async def test_a_slot_whose_new_owner_was_killed_is_of_use(tmp_path: Path) -> None:
    time = ManualTime()
    worker = SharedRateLimiter(tmp_path, clock=time)
    await worker.hit(5, 3)
    time.now += 20 * WINDOW
    # As it is between the stores of `_claim` and `_find`.
    worker._slot(0)[OWNER] = 0
    assert (await worker.hit(5, 3)).remaining == 2
    time.now += 20 * WINDOW
    worker._slot(0)[OWNER] = 0
    worker._head[shared._OWNERS] = 6
    assert (await worker.hit(6, 4)).remaining == 3
    assert (await worker.hit(5, 3)).remaining == 2
    assert (await worker.hit(6, 4)).remaining == 2
    assert not worker.sharing.unshared
    await worker.close()


async def test_c7_counts_outlive_a_worker_but_not_a_restart_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = ManualTime()
    monkeypatch.setattr(shared, "boot_id", lambda: "first boot")
    first = SharedRateLimiter(tmp_path, clock=time)
    assert (await first.hit(1, 1)).allowed
    await first.close()
    respawned = SharedRateLimiter(tmp_path, clock=time)
    assert not (await respawned.hit(1, 1)).allowed
    monkeypatch.setattr(shared, "boot_id", lambda: "second boot")
    time.now = 10**6
    after = SharedRateLimiter(tmp_path, clock=time)
    assert (await after.hit(1, 1)).allowed
    # Who still maps the old file goes on with it.
    time.now = 10**13
    assert (await respawned.hit(1, 1)).allowed
    for worker in (respawned, after):
        await worker.close()


async def test_credentials_of_another_database_are_others(tmp_path: Path) -> None:
    workers = [SharedRateLimiter(tmp_path, namespace) for namespace in ("one", "another")]
    assert [(await worker.hit(1, 1)).allowed for worker in workers] == [True, True]
    assert [(await worker.hit(1, 1)).allowed for worker in workers] == [False, False]
    for worker in workers:
        await worker.close()


async def test_workers_with_other_locks_count_apart(tmp_path: Path) -> None:
    for way in WAYS:
        with locking(way):
            workers = [SharedRateLimiter(tmp_path) for _ in range(2)]
        assert [(await worker.hit(1, 1)).allowed for worker in workers] == [True, False]
        for worker in workers:
            await worker.close()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    limiter = SharedRateLimiter(tmp_path / "run")
    asyncio.run(limiter.close())
    (folder,) = (tmp_path / "run").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert files == {"rings": 0o600, "owner-0.lock": 0o600}


async def test_a_lock_that_is_not_let_go_is_not_waited_for_long(
    tmp_path: Path, log: list[str], lock_way: Way
) -> None:
    now = 0.0
    limiter, holder = SharedRateLimiter(tmp_path, lock_pauses=2), SharedRateLimiter(tmp_path)
    limiter.sharing._clock = lambda: now
    assert holder._try_lock()
    assert [(await limiter.hit(1, 2)).allowed for _ in range(4)] == [True, True, False, False]
    assert (limiter.sharing.failing, limiter.sharing.unshared) == (True, 4)
    await holder.close()
    # It goes on at once, and says so when it has been calm for a while.
    assert (await limiter.hit(1, 2)).remaining == 1
    assert limiter.sharing.failing
    now = 60.0
    assert (await limiter.hit(1, 2)).remaining == 0
    assert (limiter.sharing.failing, limiter.sharing.unshared) == (False, 4)
    failed, works = (line.strip() for line in log)
    assert failed == (
        "WARNING Rate limits: the workers' shared file fails (its lock is not released); "
        "each worker applies the limits on its own"
    )
    assert works == (
        "WARNING Rate limits: the workers' shared file works again; 4 verdicts so far were given without it"
    )
    await limiter.close()


async def test_close_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    if not _DESCRIPTORS.is_dir():
        pytest.skip("needs Linux to count descriptors")

    def descriptors() -> set[Path]:
        return set(_DESCRIPTORS.iterdir())

    before = descriptors()
    limiter = SharedRateLimiter(tmp_path)
    for credential_id in range(1, 100):
        await limiter.hit(credential_id, 1)
    assert len(descriptors()) > len(before)
    await limiter.close()
    await limiter.close()
    assert descriptors() == before


async def test_a_waiting_hit_goes_on_when_the_lock_is_let_go(tmp_path: Path, lock_way: Way) -> None:
    limiter, holder = SharedRateLimiter(tmp_path), SharedRateLimiter(tmp_path)
    assert holder._try_lock()
    waiting = [asyncio.create_task(limiter.hit(1, 2)) for _ in range(3)]
    await asyncio.sleep(0.005)
    holder._unlock()
    assert sorted(verdict.allowed for verdict in await asyncio.gather(*waiting)) == [False, True, True]
    assert not limiter.sharing.unshared
    for worker in (limiter, holder):
        await worker.close()


async def test_a_full_disk_costs_the_sharing_of_new_credentials_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    limiter = SharedRateLimiter(tmp_path)
    assert (await limiter.hit(1, 1)).allowed

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shared, "allocate", full)
    for credential_id in range(2, 41):
        assert [(await limiter.hit(credential_id, 1)).allowed for _ in range(2)] == [True, False]
    assert not (await limiter.hit(1, 1)).allowed
    assert limiter.sharing.unshared == 16
    assert len(log) == 1
    assert "No space left on device" in log[0]
    await limiter.close()


def test_the_factory_shares_only_where_there_is_somebody_to_share_with(tmp_path: Path) -> None:
    alone = make_rate_limiter(workers=1, directory=tmp_path / "none")
    assert isinstance(alone, InProcessRateLimiter)
    assert not (tmp_path / "none").exists()
    several = make_rate_limiter(workers=2, directory=tmp_path)
    assert isinstance(several, SharedRateLimiter)
    asyncio.run(several.close())


def test_a_folder_that_cannot_be_used_is_a_start_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="DATA_DIR"):
        make_rate_limiter(workers=2, directory=tmp_path / "file")


def test_a_slot_holds_any_ring() -> None:
    assert shared._SLOT_CELLS >= RING_SIZE
    ends = [shared._chunk(slot) for slot in range(shared.MAX_SLOTS)]
    assert all(start <= slot < start + slots for slot, (_, start, slots) in enumerate(ends))
    assert ends[-1] == (9, 8192, 8192)
    assert shared._HEAD_BYTES >= 8 * (shared._OWNERS + shared.MAX_SLOTS)
    # Maps start on a page of any machine.
    assert all((shared._HEAD_BYTES + start * shared._SLOT_BYTES) % 65536 == 0 for _, start, _ in ends)
