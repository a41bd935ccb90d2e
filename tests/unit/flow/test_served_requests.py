"""Observers are told of served requests after the writes of their turn, and of each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from llm_gateway.core.ledger.served import ServedRequest
from llm_gateway.flow.ports.ledger import Journal
from llm_gateway.flow.served_requests import ServedRequests
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from tests.fakes.in_memory import Recorder


class WaitingJournal(Recorder):
    """Holds something back until `write_waiting`."""

    waits = True

    @property
    def has_waiting(self) -> bool:
        return self.waits

    def write_waiting(self) -> None:
        self.waits = False


class Made:
    """What happened, in its order."""

    def __init__(self, journal: Journal, *observers: Callable[[Sequence[ServedRequest]], None]) -> None:
        self.happened: list[str] = []
        self.served = ServedRequests((*observers, self._told), journal)

    def _told(self, requests: Sequence[ServedRequest]) -> None:
        self.happened += [f"told {request}" for request in requests]

    def add(self, name: str) -> None:
        self.served.waiting.append(cast("Any", name))
        if len(self.served.waiting) == 1:
            self.served.tell_soon()


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("compiled", [False, True])
async def test_the_client_has_its_reply_before_the_observers_are_told(*, compiled: bool) -> None:
    journal = WaitingJournal()
    made = Made(journal)
    batch = make_write_batch(patience=ALWAYS, compiled=compiled)
    batch.before = journal.write_waiting
    write = batch.writer(lambda data: made.happened.append(f"wrote {data.decode()}"), 1000)
    for name in ("one", "two"):
        made.add(name)
        write(name.encode())
    await _turns(3)
    assert made.happened == ["wrote one", "wrote two", "told one", "told two"]


async def test_without_a_write_they_are_told_all_the_same() -> None:
    made = Made(WaitingJournal())
    made.add("one")
    await _turns(3)
    assert made.happened == ["told one"]
    # The next one waits for its writes again.
    made.add("two")
    await _turns(1)
    assert made.happened == ["told one"]
    await _turns(2)
    assert made.happened == ["told one", "told two"]


async def test_without_lines_that_wait_they_are_told_in_the_next_turn() -> None:
    made = Made(Recorder())
    made.add("one")
    await _turns(1)
    assert made.happened == ["told one"]


async def test_whoever_asks_is_told_at_once_and_nobody_twice() -> None:
    made = Made(WaitingJournal())
    made.add("one")
    made.served.tell()
    assert made.happened == ["told one"]
    await _turns(3)
    made.served.tell()
    assert made.happened == ["told one"]


async def test_an_observer_that_raises_hides_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Sequence[ServedRequest]) -> None:
        raise ValueError("broken")

    made = Made(Recorder(), broken)
    made.add("one")
    await _turns(1)
    assert made.happened == ["told one"]
    assert "broken failed" in caplog.text
