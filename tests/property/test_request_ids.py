"""Request ids are UUIDv7, unique and rising, whatever the clock does."""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.request_ids import RequestIds

CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

# Steps of the wall clock in nanoseconds: standing still, crawling, leaping, and going back by up to an hour.
STEPS = st.lists(
    st.one_of(st.just(0), st.integers(0, 3_000_000), st.integers(-3_600_000_000_000, 3_600_000_000_000)),
    min_size=1,
    max_size=900,
)


def walking(steps: list[int], start: int = 1_750_000_000_000_000_000) -> Iterator[int]:
    now = start
    for step in steps:
        now += step
        yield now


@given(STEPS)
def test_ids_are_canonical_unique_and_sortable_under_any_clock(steps: list[int]) -> None:
    clock = walking(steps)
    new = RequestIds(now_ns=lambda: next(clock))
    ids = [new() for _ in steps]
    assert all(CANONICAL.fullmatch(one) for one in ids)
    assert sorted(ids) == ids
    assert len(set(ids)) == len(ids)
    parsed = [uuid.UUID(one) for one in ids]
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in parsed)
    assert sorted(parsed) == parsed


@given(st.integers(0, (1 << 48) - 2))
def test_the_first_48_bits_are_the_milliseconds(ms: int) -> None:
    new = RequestIds(now_ns=lambda: ms * 1_000_000 + 999_999)
    assert uuid.UUID(new()).int >> 80 == ms


@given(st.binary(min_size=2048, max_size=2048))
def test_random_bits_are_used_once(random: bytes) -> None:
    new = RequestIds(now_ns=lambda: 0, random=lambda size: random[:size])
    ids = [uuid.UUID(new()).int for _ in range(256)]
    digits = "".join(f"{one % 2**60:015x}" for one in ids)
    # The first bytes are for the variant.
    assert Counter(digits) == Counter(random[128:].hex())
    assert {one >> 60 & 3 for one in ids} == {random[0] & 3}


def test_many_ids_in_one_instant_stay_apart_and_near_the_time() -> None:
    ms = 1_750_000_000_000
    new = RequestIds(now_ns=lambda: ms * 1_000_000)
    ids = [new() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == ids
    assert uuid.UUID(ids[-1]).int >> 80 <= ms + 10_000 // 256 + 1


def test_two_makers_with_one_clock_do_not_collide() -> None:
    one, other = RequestIds(now_ns=lambda: 0), RequestIds(now_ns=lambda: 0)
    assert not {one() for _ in range(2_000)} & {other() for _ in range(2_000)}


def test_a_forked_child_makes_ids_of_its_own() -> None:
    new = RequestIds(now_ns=lambda: 0)
    new()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.write(write, new().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert CANONICAL.fullmatch(theirs)
    assert theirs[15:] != new()[15:]
