"""Workers of one machine admit exactly what limits allow, and a killed one gives back what it held."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage
from llm_gateway.infra.use_limits.memory import ACCOUNTS, CHUNKS, DIRTY, HELD, OPEN
from llm_gateway.infra.use_limits.shared import SharedUseStore
from tests.fakes.compiled_parts import WAYS, Way, locking, program_locking

_REQUESTS = 10_000

# A worker whose requests all begin at once; it prints how many were admitted, and holds them until its input ends.
_WORKER = """
import asyncio, json, sys
from datetime import UTC
from pathlib import Path
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage
from llm_gateway.infra.use_limits.shared import SharedUseStore

folder, requests, limits = sys.argv[1:4]
claims = [Claim(number, Limits(**each), 10) for number, each in enumerate(json.loads(limits), 1)]

async def request(store, gate):
    await gate.wait()
    answer = store.hold(claims)
    return answer if isinstance(answer, (HeldUse, Shortage)) else await answer

async def main():
    store = SharedUseStore(Path(folder), "db", UTC, lock_pauses=60_000)
    gate = asyncio.Event()
    tasks = [asyncio.create_task(request(store, gate)) for _ in range(int(requests))]
    await asyncio.sleep(0)
    print("ready", flush=True)
    sys.stdin.readline()
    gate.set()
    held = [answer for answer in await asyncio.gather(*tasks) if isinstance(answer, HeldUse)]
    assert store.sharing.unshared == 0
    print(len(held), flush=True)
    while (line := await asyncio.to_thread(sys.stdin.readline)):
        for one in held:
            if line == "settle\\n":
                store.settle(one, 3)
            else:
                store.release(one)
        held.clear()
        while store._ends:
            await asyncio.sleep(0.001)
        print("done", flush=True)
    await store.close()

asyncio.run(main())
"""

# Takes, settles and releases as fast as it can, until it is killed.
_BUSY_WORKER = """
import random, sys, asyncio
from datetime import UTC
from pathlib import Path
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse
from llm_gateway.infra.use_limits.shared import SharedUseStore

async def main():
    store = SharedUseStore(Path(sys.argv[1]), "db", UTC, lock_pauses=60_000)
    most = 10**12
    limits = Limits(
        concurrent_requests=1000, tokens_per_minute=most, requests_per_minute=most, tokens_per_day=most
    )
    held = []
    print("ready", flush=True)
    while True:
        claims = [Claim(key, limits, random.randint(1, 99)) for key in random.sample(range(1, 8), 3)]
        answer = store.hold(claims)
        held.append(answer if isinstance(answer, tuple) else await answer)
        if len(held) > 20:
            for _ in range(random.randint(1, 20)):
                one = held.pop(random.randrange(len(held)))
                store.settle(one, 5) if random.random() < 0.5 else store.release(one)
        await asyncio.sleep(0)

asyncio.run(main())
"""


class Worker:
    def __init__(self, program: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        worker.end()


def start(workers: list[Worker], folder: Path, number: int, limits: str) -> None:
    workers += [Worker(_WORKER, folder, _REQUESTS // number, limits) for _ in range(number)]
    for worker in workers:
        worker.say("go")


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize(
    "limits",
    [
        '[{"requests_per_minute": 100}]',
        '[{"concurrent_requests": 100}]',
        '[{"requests_per_day": 100}, {"concurrent_requests": 5000}, {"tokens_per_minute": 5000000}]',
        '[{"requests_per_day": 5000}, {"tokens_per_minute": 1000}]',
        '[{"tokens_per_day": 1000}]',
    ],
)
def test_ten_thousand_parallel_requests_are_admitted_a_hundred_times(
    tmp_path: Path, workers: list[Worker], number: int, limits: str
) -> None:
    start(workers, tmp_path, number, limits)
    assert sum(int(worker.read()) for worker in workers) == 100
    store = SharedUseStore(tmp_path, "db", UTC)
    head = store._memory.head
    is_held = "concurrent" in limits or "tokens" in limits
    assert sum(head[OPEN : OPEN + head[CHUNKS] * ACCOUNTS].tolist()) % 100 == 0
    assert bool(store.open_holds()) is is_held
    for worker in workers:
        worker.say("settle")
        assert worker.read() == "done"
    assert store.open_holds() == 0
    assert sum(head[HELD : HELD + head[CHUNKS] * ACCOUNTS].tolist()) == 0


def test_what_a_killed_worker_held_is_given_back(tmp_path: Path, workers: list[Worker]) -> None:
    start(workers, tmp_path, 4, '[{"concurrent_requests": 100, "tokens_per_minute": 1000}]')
    numbers = [int(worker.read()) for worker in workers]
    assert sum(numbers) == 100
    store = SharedUseStore(tmp_path, "db", UTC)
    claim = Claim(1, Limits(concurrent_requests=100, tokens_per_minute=1000), 10)
    assert isinstance(store.hold([claim]), Shortage)
    killed = max(range(4), key=numbers.__getitem__)
    workers[killed].process.send_signal(signal.SIGKILL)
    workers[killed].process.wait()
    time.sleep(0.2)
    admitted = [store.hold([claim]) for _ in range(101)]
    assert sum(isinstance(answer, HeldUse) for answer in admitted) == numbers[killed]


def test_sums_are_right_wherever_workers_are_killed(
    tmp_path: Path, workers: list[Worker], lock_way: Way
) -> None:
    chance = random.Random(5)
    store = SharedUseStore(tmp_path, "db", UTC, lock_pauses=60_000)
    for _ in range(int(os.environ.get("USE_LIMIT_KILLS", "4"))):
        group = [Worker(program_locking(lock_way, _BUSY_WORKER), tmp_path) for _ in range(3)]
        workers += group
        time.sleep(chance.uniform(0.02, 0.2))
        for worker in group:
            worker.process.send_signal(signal.SIGKILL)
        for worker in group:
            worker.process.wait()
        held = store.hold([Claim(1, Limits(concurrent_requests=1), 0)])
        while isinstance(held, Shortage):
            # The look for the living is not repeated at once.
            time.sleep(0.05)
            held = store.hold([Claim(1, Limits(concurrent_requests=1), 0)])
        assert isinstance(held, HeldUse)
        store._looked_at = 0
        store.release(held)
        head = store._memory.head
        assert head[DIRTY] == 0
        assert store.open_holds() == 0
        assert sum(map(abs, head[HELD : HELD + head[CHUNKS] * ACCOUNTS].tolist())) == 0
