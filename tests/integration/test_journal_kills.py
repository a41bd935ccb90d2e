"""kill -9, over and over, of those who write the journal and of those who ship it: no request, no event is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.shipper import Shipper
from tests.fakes.journal_programs import SqliteStore
from tests.fakes.usage_records import event

ROOT = Path(__file__).parents[2]


class Seen(NamedTuple):
    """The ids of what the world saw: requests that began and ended, and events that were taken."""

    begun: set[str]
    ended: set[str]
    events: set[str]

    def add(self, said: bytes) -> None:
        for line in said.splitlines(keepends=True):
            what, _, one = line.decode().partition(" ")
            # A line of which a part came was never seen whole by anyone.
            if one.endswith("\n"):
                {"B": self.begun, "E": self.ended, "V": self.events}[what].add(one.strip())


class Program:
    """A process that is killed after a while, and what it said until then."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "tests.fakes.journal_programs", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self.said = b""

    def kill_after(self, seconds: float) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            assert output.readline() == b"ready\n", "the program did not start"
            threading.Timer(seconds, self.process.kill).start()
            self.said = output.read()
        self.process.wait()


def kill_in_a_loop(folder: Path, database: Path, kills: int, seed: int) -> Seen:
    """Run writers beside contending shippers, killing each in turn; return what was seen."""
    choose = random.Random(seed)
    shippers = [Program("ship", folder, database) for _ in range(2)]
    seen = Seen(set(), set(), set())
    for kill in range(kills):
        writers = [Program("write", folder) for _ in range(2)]
        for writer in writers:
            writer.kill_after(choose.uniform(0.005, 0.1))
            seen.add(writer.said)
        if kill % 3 == 2:
            victim = shippers.pop(0)
            victim.kill_after(choose.uniform(0, 0.05))
            shippers.append(Program("ship", folder, database))
    for shipper in shippers:
        shipper.kill_after(0)
    return seen


@pytest.mark.timeout(1800)
async def test_every_request_that_began_and_every_event_taken_has_a_row_s0_38(
    tmp_path: Path, soak: bool
) -> None:
    folder, database = tmp_path / "journal", tmp_path / "usage.db"
    seed = time.time_ns()
    print(f"{seed=}")
    begun, ended, taken = kill_in_a_loop(folder, database, kills=500 if soak else 10, seed=seed)
    store = SqliteStore(database)
    shipper = Shipper(folder, store, SystemClock())
    shipper.start()
    assert await shipper.drain(60)
    rows, events = store.rows(), store.events()
    store.database.close()
    assert taken
    assert taken - events.keys() == set()
    assert all(one == event(key, attributes={"n": [key]}) for key, one in events.items())
    assert begun
    assert begun - rows.keys() == set()
    assert {key for key in ended if rows[key].outcome != "ok"} == set()
    # What began and had no end that anyone saw is interrupted, or ended in the killed process' last moment.
    assert {row.outcome for key, row in rows.items() if key not in ended} <= {"interrupted", "ok"}
    assert not read_folder(folder).incarnations
    print(
        f"{len(begun)} began, {len(ended)} ended, {len(rows)} rows, {len(events)} events, "
        f"{shipper.rejected} torn lines"
    )
