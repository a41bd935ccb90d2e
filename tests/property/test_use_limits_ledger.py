"""Wherever the processes that serve requests are killed, the sums of the ledger are those of its holds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, Shortage
from llm_gateway.infra.use_limits.ledger import Taken, UseLedger
from llm_gateway.infra.use_limits.memory import ACCOUNTS, CHUNKS, HELD, KEYS, KINDS, OPEN, LocalMemory, Memory

SECOND = 1_000_000_000
DAY_US = 86_400_000_000
LIMITS = Limits(
    requests_per_minute=9,
    requests_per_day=25,
    tokens_per_minute=60,
    tokens_per_day=200,
    concurrent_requests=6,
)


class Killed(Exception):
    """Stands for a SIGKILL."""


class Dying:
    """Integers of a process that is killed at one of its next stores."""

    def __init__(self, cells: memoryview, process: Process) -> None:
        self._cells = cells
        self._process = process

    def __getitem__(self, index: Any) -> Any:
        return self._cells[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._process.store()
        self._cells[index] = value


class Process(Memory):
    """One worker's view of the shared memory, and what it holds."""

    def __init__(self, memory: LocalMemory, number: int, machine: Machine) -> None:
        self._memory = memory
        self.number = number
        # Stores until it is killed; None = it lives on.
        self.stores_left: int | None = None
        self.head: Any = Dying(memory.head, self)
        self.open: list[tuple[list[Claim], list[Taken]]] = []
        self.ledger = UseLedger(
            self, number, UTC, monotonic_ns=lambda: machine.now, unix_us=lambda: machine.unix_us
        )

    def store(self) -> None:
        if self.stores_left is not None:
            if self.stores_left == 0:
                raise Killed
            self.stores_left -= 1

    def chunk(self, number: int) -> Any:
        return Dying(self._memory.chunk(number), self)


class Machine(RuleBasedStateMachine):
    """Workers of one machine, of which any may be killed within any call."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000 * SECOND
        self.unix_us = 20_000 * DAY_US
        self.memory = LocalMemory()
        self.workers: dict[int, Process] = {}
        self.started = 2
        self.admitted_today = dict.fromkeys(range(1, 4), 0)
        for number in range(3):
            self.workers[number] = Process(self.memory, number, self)

    @property
    def live(self) -> set[int]:
        return {worker.number for worker in self.workers.values()}

    def call(self, number: int, stores: int | None, work: Any) -> None:
        """Do `work` as a worker does under the lock."""
        worker = self.workers[number]
        worker.stores_left = stores
        try:
            if worker.ledger.holds.is_torn:
                worker.ledger.holds.purge(self.live.__contains__)
            work(worker)
        except Killed:
            self.kill(number)
        worker.stores_left = None

    def kill(self, number: int) -> None:
        """Let a worker die without anybody's notice, and start another one."""
        self.started += 1
        self.workers[number] = Process(self.memory, self.started, self)

    @rule(
        number=st.integers(0, 2),
        keys=st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
        tokens=st.integers(0, 30),
        stores=st.none() | st.integers(0, 40),
    )
    def hold(self, number: int, keys: list[int], tokens: int, stores: int | None) -> None:
        claims = [Claim(key, LIMITS, tokens) for key in keys]

        def work(worker: Process) -> None:
            answer = worker.ledger.hold(claims)
            if isinstance(answer, Shortage):
                assert answer.wait is not None
                return
            worker.open.append((claims, list(answer.taken)))
            for key in keys:
                self.admitted_today[key] += 1

        self.call(number, stores, work)

    @rule(
        number=st.integers(0, 2),
        index=st.integers(0, 99),
        tokens=st.none() | st.integers(0, 50),
        stores=st.none() | st.integers(0, 20),
    )
    def end(self, number: int, index: int, tokens: int | None, stores: int | None) -> None:
        if not self.workers[number].open:
            return

        def work(worker: Process) -> None:
            claims, taken = worker.open.pop(index % len(worker.open))
            if tokens is None:
                worker.ledger.release(taken)
                for claim in claims:
                    self.admitted_today[claim.key] -= 1
            else:
                worker.ledger.settle(taken, tokens)

        self.call(number, stores, work)

    @rule(number=st.integers(0, 2))
    def die(self, number: int) -> None:
        self.kill(number)

    @rule(number=st.integers(0, 2), stores=st.none() | st.integers(0, 30))
    def look_for_the_dead(self, number: int, stores: int | None) -> None:
        self.call(number, stores, lambda worker: worker.ledger.holds.purge(self.live.__contains__))

    @rule(seconds=st.integers(0, 90))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @precondition(lambda self: not any(worker.open for worker in self.workers.values()))
    @rule()
    def next_day(self) -> None:
        self.unix_us += DAY_US
        self.admitted_today = dict.fromkeys(range(1, 4), 0)

    @invariant()
    def sums_are_those_of_the_holds(self) -> None:
        if not hasattr(self, "workers"):
            return
        self.call(0, None, lambda _: None)
        head = self.memory.head
        stored: Counter[int] = Counter()
        tokens: Counter[int] = Counter()
        for number in range(head[CHUNKS]):
            if head[KINDS + number] > 0:
                chunk = self.memory.chunk(number).tolist()
                for account, held in zip(chunk[::2], chunk[1::2], strict=True):
                    if account:
                        stored[account - 1] += 1
                        tokens[account - 1] += held
        used = range(head[CHUNKS] * ACCOUNTS)
        assert [head[OPEN + account] for account in used] == [stored[account] for account in used]
        assert [head[HELD + account] for account in used] == [tokens[account] for account in used]
        assert max(self.admitted_today.values()) <= 25
        assert max(stored.values(), default=0) <= 6

    @rule()
    def without_the_dead_the_holds_are_those_of_open_requests(self) -> None:
        self.call(0, None, lambda worker: worker.ledger.holds.purge(self.live.__contains__))
        head = self.memory.head
        keys = head[KEYS : KEYS + head[CHUNKS] * ACCOUNTS].tolist()
        for key in range(1, 4):
            expected = [
                claim.tokens
                for worker in self.workers.values()
                for claims, _ in worker.open
                for claim in claims
                if claim.key == key
            ]
            if key not in keys:
                assert expected == []
                continue
            account = keys.index(key)
            assert head[OPEN + account] == len(expected)
            assert head[HELD + account] == sum(expected)


TestLedger = Machine.TestCase
TestLedger.settings = settings(stateful_step_count=40)
