"""Workers hold and settle in one file, and some are killed: every cost counts once, and nothing stays held."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.flow.ports.budgets import Shortage
from llm_gateway.flow.ports.limits import Reservation
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.prepared import PreparedWindows
from llm_gateway.infra.budgets.share_file import AMOUNT, BORROWED, HOLDS, LEASE_END, OPEN, USED, ShareFile
from llm_gateway.infra.budgets.shares import SharedBudgets
from tests.fakes.prepared_holds import hold, unheard
from tests.fakes.usage_records import record

_TOTAL = 10**15
# Beyond the digit of Python's integers, and what is counted without holding anything.
_AMOUNTS = (0, 1, 1000, 2**31)
_MOST_OPEN = 8


def covered(number: int) -> Covered:
    budget = Budget(id=number, name="b", scope="all", amount_nano_usd=_TOTAL, period="total", counts_from=1)
    return Covered(budget, BudgetWindow(number, "", 1), None)


_WINDOWS = [covered(1), covered(2)]


def work(folder: Path, log: Path, pipe: Connection) -> None:
    """Hold in one window or in both, settle and release in any order, and at the end all that is open.

    The log has what was settled in the windows for certain, and with what is about to be settled.
    """
    file = ShareFile(folder, "db", 1)
    shares = SharedBudgets(file, Bell(file.folder / "bell"))
    one, both = (
        PreparedWindows(file, time.monotonic_ns, windows, shares._hold_locked, unheard, unheard)
        for windows in (_WINDOWS[:1], _WINDOWS)
    )
    chance = random.Random()
    held: list[tuple[Reservation, bool]] = []
    spent, written = (0, 0), os.open(log, os.O_WRONLY | os.O_CREAT)
    pipe.send(file.worker)
    while held or not pipe.poll():
        if len(held) < _MOST_OPEN and chance.random() < 0.6 and not pipe.poll():
            is_both = chance.random() < 0.5
            answer = hold(both if is_both else one, chance.choice(_AMOUNTS))
            if answer is not None and not isinstance(answer, Shortage):
                held.append((answer, is_both))
        elif held:
            reservation, was_both = held.pop(chance.randrange(len(held)))
            if chance.random() < 0.2:
                reservation.release()
                continue
            cost = chance.choice(_AMOUNTS)
            after = (spent[0] + cost, spent[1] + cost * was_both)
            os.pwrite(written, b"%20d%20d%20d%20d" % (*spent, *after), 0)
            reservation.settle(record("r", cost_nano_usd=cost))
            spent = after
            os.pwrite(written, b"%20d%20d%20d%20d" % (*spent, *spent), 0)
    pipe.send("done")
    pipe.recv()
    pipe.recv()


class Worker:
    def __init__(self, folder: Path, log: Path) -> None:
        self._log = log
        self._pipe, its_end = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(target=work, args=(folder, log, its_end))
        self.process.start()
        self.place: int = self._pipe.recv()

    def finish(self) -> None:
        """Let it settle what is open, and wait until it has."""
        self._pipe.send("end")
        assert self._pipe.recv() == "done"

    def costs(self) -> tuple[list[int], list[int]]:
        """Return what it has settled in the windows for certain, and with what it may have been killed in."""
        numbers = list(map(int, self._log.read_text().split())) or [0] * 4
        return numbers[:2], numbers[2:]

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        worker.kill()


def test_sums_are_right_wherever_workers_are_killed(tmp_path: Path, workers: list[Worker]) -> None:
    chance = random.Random(3)
    file = ShareFile(tmp_path, "db", 1)
    with file.locked():
        slots = [slot for window in _WINDOWS if (slot := file.claim(window.window, None)) is not None]
        for slot in slots:
            slot[BORROWED] = slot[AMOUNT] = _TOTAL
            slot[LEASE_END] = time.monotonic_ns() + 3600 * 10**9

    def start() -> Worker:
        workers.append(Worker(tmp_path, tmp_path / f"log-{len(workers)}"))
        return workers[-1]

    living = [start() for _ in range(3)]
    # What the dead have spent, by place and window.
    dead: dict[int, list[int]] = {}
    for _ in range(int(os.environ.get("BUDGET_KILLS", "20"))):
        time.sleep(chance.uniform(0.01, 0.1))
        killed = living.pop(chance.randrange(len(living)))
        killed.kill()
        assert file.dead_workers() == [killed.place]
        with file.locked(100_000):
            file.clear_workers([killed.place])
            cells = [[slot[cells + killed.place] for cells in (HOLDS, OPEN)] for slot in slots]
            used = [slot[USED + killed.place] for slot in slots]
        assert cells == [[0, 0], [0, 0]]
        before = dead.get(killed.place, [0, 0])
        certain, possible = killed.costs()
        for found, earlier, least, most in zip(used, before, certain, possible, strict=True):
            assert found - earlier in {least, most}
        dead[killed.place] = used
        # It takes the place, and goes on from what was spent there.
        living.append(start())
        assert living[-1].place == killed.place
    for worker in living:
        worker.finish()
    for number, slot in enumerate(slots):
        assert file.sum(slot, HOLDS) == file.sum(slot, OPEN) == 0
        spent = sum(dead.get(one.place, [0, 0])[number] + one.costs()[0][number] for one in living)
        assert file.sum(slot, USED) == spent > 0
        assert file.on_hand(slot) == _TOTAL - spent
    file.close()
