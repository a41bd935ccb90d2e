"""Accounts are found by their keys, and give way when they are idle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.use_limits.accounts import (
    MINUTE,
    RELEASES,
    REQUESTS_OF_DAY,
    AccountTable,
    Place,
    WindowSums,
    find_day,
    open_day,
)
from llm_gateway.infra.use_limits.memory import ACCOUNTS, CHUNKS, KEYS, MAX_CHUNKS, OPEN, LocalMemory
from llm_gateway.infra.use_limits.windows import MINUTE_CELL, add, advance, subtract, used

NOW = 10_000 * MINUTE_CELL


def test_processes_find_the_same_account() -> None:
    memory = LocalMemory()
    one, other = AccountTable(memory), AccountTable(memory)
    accounts = []
    for key in range(1, 100):
        accounts.append(one.find(key, NOW, 5).account)
        memory.head[OPEN + accounts[-1]] = 1
    assert len(set(accounts)) == 99
    assert [other.find(key, NOW, 5).account for key in range(1, 100)] == accounts
    assert other.known(500) is None
    seventh = one.known(7)
    assert seventh is not None
    assert seventh.account == accounts[6]


def test_bytes_that_look_like_a_key_are_not_taken_for_one() -> None:
    """Keys are searched for as bytes: only a whole integer counts."""
    memory = LocalMemory()
    table = AccountTable(memory)
    table.find(0x0102030405060708, NOW, 5)
    table.find(0x1112131415161718, NOW, 5)
    mixed = int.from_bytes(memory.head[KEYS : KEYS + 2].tobytes()[3:11], "little")
    assert table.find(mixed, NOW, 5) not in (table.known(0x0102030405060708), table.known(0x1112131415161718))


def test_an_idle_account_gives_way_and_is_told() -> None:
    memory = LocalMemory()
    one, other = AccountTable(memory), AccountTable(memory)
    for key in range(1, ACCOUNTS + 1):
        _, row, at = one.find(key, NOW, 5)
        advance(row, at + MINUTE, NOW // MINUTE_CELL)
        add(row, at + MINUTE, 1)
    assert memory.head[CHUNKS] == 1
    later = NOW + 62 * MINUTE_CELL
    for key in range(1000, 1000 + ACCOUNTS):
        other.find(key, later, 5)
    assert memory.head[CHUNKS] == 1
    assert all(one.known(key) is None for key in range(1, ACCOUNTS + 1))


@pytest.mark.parametrize("why", ["open", "minute", "today"])
def test_an_account_in_use_stays(why: str) -> None:
    memory = LocalMemory()
    table = AccountTable(memory)
    for key in range(1, ACCOUNTS + 1):
        account, row, at = table.find(key, NOW, 5)
        if why == "open":
            memory.head[OPEN + account] = 1
        elif why == "minute":
            advance(row, at + MINUTE, NOW // MINUTE_CELL)
        else:
            row[open_day(row, at, 5) + REQUESTS_OF_DAY] = 1
    table.find(999, NOW, 5)
    assert memory.head[CHUNKS] == 2
    assert all(table.known(key) is not None for key in range(1, ACCOUNTS + 1))


def test_accounts_of_one_request_do_not_displace_one_another() -> None:
    memory = LocalMemory()
    table = AccountTable(memory)
    found: list[Place] = []
    for key in range(1, 6):
        found.append(table.find(key, NOW, 5, found))
    assert len({place.account for place in found}) == 5


def test_there_is_a_most() -> None:
    memory = LocalMemory()
    memory.head[CHUNKS] = MAX_CHUNKS
    with pytest.raises(OSError, match="too many accounts"):
        AccountTable(memory).find(1, NOW, 5)


def test_the_counts_of_two_days_are_kept() -> None:
    row = memoryview(bytearray(8 * 64)).cast("q")
    for day, count in ((10, 3), (20, 4)):
        row[open_day(row, 8, day) + REQUESTS_OF_DAY] = count
    assert [row[open_day(row, 8, day) + REQUESTS_OF_DAY] for day in (10, 20, 10)] == [3, 4, 3]
    assert row[open_day(row, 8, 30) + REQUESTS_OF_DAY] == 0
    assert find_day(row, 8, 10) is None
    assert find_day(row, 8, 20) is not None


@given(
    st.lists(st.tuples(st.sampled_from(["add", "release", "look"]), st.integers(0, 1), st.integers(0, 30)))
)
def test_remembered_sums_are_those_of_the_cells(steps: list[tuple[str, int, int]]) -> None:
    """Two processes add, take back and look, in any order."""
    memory = LocalMemory()
    tables = AccountTable(memory), AccountTable(memory)
    sums = WindowSums(), WindowSums()
    cell, added = 10_000, list[int]()
    for what, process, number in steps:
        place = tables[process].find(1, NOW, 5)
        _, row, at = place
        cell += number // 8
        if what == "add":
            assert sums[process].used(place, MINUTE, cell) == used(row, at + MINUTE)
            added.append(add(row, at + MINUTE, number))
        elif what == "release" and added:
            row[at + RELEASES] += 1
            subtract(row, at + MINUTE, added.pop(number % len(added)), 1)
        assert sums[process].used(place, MINUTE, cell) == used(row, at + MINUTE)
