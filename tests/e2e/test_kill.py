"""`kill -9` under load: after the next start every upstream call has exactly one usage row."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import eventually
from tests.e2e.load import Load, Outcome
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream


def prepare(desk: Desk) -> None:
    """Add a quick provider, one whose streams take their time, and one that always fails over."""
    desk.provider("quick", weight=2)
    desk.failing(Script(pieces=("word ",) * 20, gap=0.01), "slow", weight=2)
    desk.failing(error_script(500), "bad", weight=1)


def check_rows(desk: Desk, outcomes: list[Outcome]) -> Counter[str]:
    """Compare the rows with what the provider and the clients saw, and return how many had which outcome."""
    rows = desk.gateway.usage_rows(model=desk.model, limit=500)
    times = Counter(row["request_id"] for row in rows)
    assert set(times.values()) <= {1}
    called = {
        call.header("x-request-id")
        for name in ("quick", "slow", "bad")
        for call in desk.fake.lane(f"{name}-{desk.number}").chats
    }
    assert called - set(times) == set(), "upstream calls without a row"
    ends = {row["request_id"]: row for row in rows}
    for outcome in outcomes:
        if outcome.finished:
            row = ends[str(outcome.request_id)]
            assert (row["outcome"], row["total_tokens"]) == ("ok", 13), row
    interrupted = [row for row in rows if row["outcome"] == "interrupted"]
    assert all(row["provider"] and row["attempts"] for row in interrupted)
    return Counter(row["outcome"] for row in rows)


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_kill_9_and_restart_loses_no_row(
    launch: Launch, fake: FakeUpstream, soak: bool, store: str, workers: int
) -> None:
    dice = random.Random(workers)
    gateway = launch(store, WORKERS=workers)
    desk = Desk(gateway, fake)
    prepare(desk)
    outcomes: list[Outcome] = []
    for _ in range(100 if soak else 2):
        load = Load(desk, clients=12)
        load.start()
        load.wait_for(40)
        time.sleep(dice.random() * 0.1)
        gateway.kill()
        outcomes += load.stop()
        gateway.start()
        ends = check_rows(desk, outcomes)
        assert ends["interrupted"] > 0, "nothing was in flight when the gateway was killed"
    assert desk.chat().status_code == 200


def workers_of(pid: int) -> list[int]:
    """Return the child processes that serve: those that hold a listening or client socket of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"resource_tracker" not in cmdline(int(child))]


def replaced(gone: int, now: list[int]) -> bool:
    return len(now) == 2 and gone not in now


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_a_killed_worker_is_replaced_and_loses_no_row(
    launch: Launch, fake: FakeUpstream, soak: bool, store: str
) -> None:
    gateway = launch(store, WORKERS=2)
    desk = Desk(gateway, fake)
    prepare(desk)
    load = Load(desk, clients=12)
    load.start()
    for _ in range(6 if soak else 2):
        finished = sum(outcome.finished for outcome in list(load.outcomes))
        load.wait_for(finished + 40)
        before = workers_of(gateway.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        # One that dies again and again is replaced ever later.
        eventually(lambda: workers_of(gateway.pid), partial(replaced, before[0]), 40)
        eventually(gateway.is_ready, bool)
    outcomes = load.stop()
    ends = eventually(
        lambda: check_rows(desk, outcomes), lambda ends: ends["ok"] >= sum(o.finished for o in outcomes)
    )
    assert ends["interrupted"] > 0
    assert gateway.stop() == 0
