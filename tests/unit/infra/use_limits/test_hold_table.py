"""Holds belong to processes; those of dead ones are dropped, and sums are those of what is left."""

from __future__ import annotations

from llm_gateway.infra.use_limits.hold_table import HoldTable
from llm_gateway.infra.use_limits.memory import CHUNKS, DIRTY, HELD, LocalMemory


def table(memory: LocalMemory, number: int = 0) -> HoldTable:
    made = HoldTable(memory, number)
    made.ensure_places(1)
    return made


def test_sums_follow_the_holds() -> None:
    holds = table(LocalMemory())
    first = holds.add(5, 100)
    second = holds.add(5, 7)
    assert (holds.open_requests(5), holds.held_tokens(5), holds.open_holds) == (2, 107, 2)
    holds.remove(first, 5)
    holds.remove(first, 5)
    assert (holds.open_requests(5), holds.held_tokens(5), holds.open_holds) == (1, 7, 1)
    holds.remove(second, 5)
    assert (holds.open_requests(5), holds.held_tokens(5), holds.open_holds) == (0, 0, 0)


def test_only_what_the_dead_held_is_dropped_and_its_chunk_is_used_again() -> None:
    memory = LocalMemory()
    one, other = table(memory, 0), table(memory, 1)
    one.add(5, 10)
    other.add(5, 20)
    other.add(6, 30)
    assert one.owners() == {0, 1}
    assert not one.purge({0, 1}.__contains__)
    assert one.purge({0}.__contains__)
    assert (one.open_requests(5), one.held_tokens(5), one.open_requests(6)) == (1, 10, 0)
    table(memory, 2)
    assert memory.head[CHUNKS] == 2


def test_torn_sums_are_computed_again() -> None:
    memory = LocalMemory()
    holds = table(memory)
    holds.add(5, 10)
    memory.head[HELD + 5] = 99
    memory.head[DIRTY] = 1
    assert holds.purge(lambda _: True)
    assert not holds.is_torn
    assert holds.held_tokens(5) == 10


def test_a_process_that_was_taken_for_dead_goes_on_with_other_places() -> None:
    memory = LocalMemory()
    one, other = table(memory, 0), table(memory, 1)
    place = one.add(5, 10)
    other.purge({1}.__contains__)
    one.remove(place, 5)
    assert one.open_requests(5) == 0
    one.ensure_places(1)
    one.add(5, 3)
    assert other.purge({1}.__contains__)
    assert (one.open_requests(5), one.held_tokens(5)) == (0, 0)


def test_many_holds_take_several_chunks() -> None:
    memory = LocalMemory()
    holds = HoldTable(memory, 0)
    places = []
    for _ in range(5000):
        holds.ensure_places(1)
        places.append(holds.add(1, 1))
    assert len(set(places)) == holds.open_requests(1) == holds.open_holds == 5000
    for place in places:
        holds.remove(place, 1)
    assert holds.held_tokens(1) == 0
