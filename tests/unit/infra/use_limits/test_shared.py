"""Workers of one machine share what they count; what cannot be shared is counted by each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage
from llm_gateway.infra.use_limits.memory import DIRTY, HELD, OPEN
from llm_gateway.infra.use_limits.shared import SharedUseStore
from tests.fakes.compiled_parts import WAYS, Way, locking

SECOND = 1_000_000_000
DAY_US = 86_400_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 1_000 * SECOND
        self.us = 20_000 * DAY_US + 1

    def monotonic(self) -> int:
        return self.ns

    def unix(self) -> int:
        return self.us


Open = Callable[..., SharedUseStore]


@pytest.fixture(autouse=True, params=WAYS)
def lock_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with locking(request.param):
        yield request.param


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Open:
    def opened(**options: Any) -> SharedUseStore:
        return SharedUseStore(
            tmp_path,
            options.pop("namespace", "db"),
            options.pop("zone", UTC),
            monotonic_ns=clock.monotonic,
            unix_us=clock.unix,
            **{"boot": "1", "lock_pauses": 2, **options},
        )

    return opened


def claim(key: int = 1, tokens: int = 0, **limits: int) -> Claim:
    return Claim(key, Limits(**limits), tokens)


def held(store: SharedUseStore, *claims: Claim) -> HeldUse:
    answer = store.hold(claims)
    assert isinstance(answer, HeldUse), answer
    return answer


def short(store: SharedUseStore, *claims: Claim) -> Shortage:
    answer = store.hold(claims)
    assert isinstance(answer, Shortage)
    return answer


def test_days_survive_a_restart_and_windows_a_restart_without_a_reboot(open_store: Open) -> None:
    limits = {"requests_per_day": 1, "requests_per_minute": 1}
    store = open_store()
    held(store, claim(1, **limits), claim(2, concurrent_requests=1))
    store._memory.close()
    again = open_store()
    assert short(again, claim(1, requests_per_minute=1))
    # No process holds it any more.
    held(again, claim(2, concurrent_requests=1))
    rebooted = open_store(boot="2")
    assert short(rebooted, claim(1, requests_per_day=1)).used == 1
    held(rebooted, claim(1, requests_per_minute=1))
    # Other databases have other ids.
    held(open_store(namespace="other"), claim(1, **limits))


def test_processes_with_other_locks_share_nothing(open_store: Open, lock_way: Way) -> None:
    held(open_store(), claim(1, requests_per_day=1))
    with locking("python" if lock_way == "compiled" else "compiled"):
        held(open_store(), claim(1, requests_per_day=1))
    short(open_store(), claim(1, requests_per_day=1))


def test_a_torn_change_is_repaired_by_the_next_one(open_store: Open) -> None:
    one, other = open_store(), open_store()
    first = held(one, claim(1, 7, tokens_per_minute=10, concurrent_requests=5))
    one._memory.head[DIRTY] = 1
    one._memory.head[OPEN] += 3
    one._memory.head[HELD] = -5
    found = short(other, claim(1, 7, tokens_per_minute=10))
    assert (found.used, found.held) == (0, 7)
    assert one.open_holds() == 1
    one.settle(first, 0)
    assert one.open_holds() == 0


async def test_a_busy_lock_is_waited_for_and_then_done_without(open_store: Open) -> None:
    one, other = open_store(), open_store()
    first = held(other, claim(1, concurrent_requests=1))
    assert one._memory.lock.try_lock()
    waiting = other.hold([claim(1, concurrent_requests=1)])
    assert not isinstance(waiting, (HeldUse, Shortage))
    alone = await waiting
    assert isinstance(alone, HeldUse), "this worker counts alone"
    assert other.sharing.failing
    other.release(alone)
    other.settle(first, 0)
    one._memory.lock.unlock()
    held(one, claim(2, concurrent_requests=1))
    other._flush_again()
    held(one, claim(1, concurrent_requests=1))


async def test_an_end_while_the_lock_is_held_waits_for_it(open_store: Open) -> None:
    store = open_store()
    first = held(store, claim(1, concurrent_requests=1))
    assert store._memory.lock.try_lock()
    # As a garbage collection does that ends a request within the lock.
    store.settle(first, 0)
    assert store.open_holds() == 1
    store._memory.lock.unlock()
    held(store, claim(1, concurrent_requests=1))
    assert not store.sharing.failing


async def test_a_closed_store_counts_alone(open_store: Open) -> None:
    store = open_store()
    first = held(store, claim(1, concurrent_requests=1))
    await store.close()
    store.settle(first, 0)
    second = held(store, claim(1, concurrent_requests=1))
    short(store, claim(1, concurrent_requests=1))
    store.settle(second, 0)
    assert store.open_holds() == 0
    assert store.shortage([claim(1, concurrent_requests=1)]) is None


def test_a_look_without_the_lock_takes_nothing(open_store: Open, clock: Clock) -> None:
    store = open_store()
    claims = [claim(1, 1, requests_per_second=1, requests_per_minute=2, requests_per_day=3, tokens_per_day=9)]
    assert store.shortage(claims) is None
    held(store, *claims)
    for _ in range(3):
        found = store.shortage(claims)
        assert found is not None
        assert found.name == "requests_per_second"
    clock.ns += 2 * SECOND
    assert store.shortage(claims) is None
    held(store, *claims)
    clock.ns += 61 * SECOND
    assert store.shortage(claims) is None


def test_idle_accounts_make_room(open_store: Open, clock: Clock) -> None:
    store = open_store()
    for key in range(1, 200):
        held(store, claim(key, requests_per_minute=1))
        clock.ns += 10 * SECOND
    assert store._memory.head[6] <= 2, "no more chunks than two"
    for key in range(1000, 1100):
        held(store, claim(key, concurrent_requests=1))
    short(store, claim(1000, concurrent_requests=1))
