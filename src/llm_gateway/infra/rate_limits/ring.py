"""The rule of a rate limit, as a ring of the last admissions that any row of integers can hold.

A limit of N has N places. A request takes the next place of the ring, if the request that had it before is
a second old; so at most N are admitted in any one second, and the first N at once. Up to `CELLS` places
each have a cell of their own, and the rule is exact. Beyond that a cell stands for a group of
`ceil(N / CELLS)` places, which become free together, a second after the last of them was taken: never are
more than N admitted, and none is refused unless more than N less a group (0.1 % of N) were.

A cell holds the time at which it is free again, so a ring of noughts is a free one. Every change is a few
single stores, in an order that leaves a usable ring wherever a killed process stops: a place is skipped
before it is taken, so that a place may be lost for a second and none is ever had twice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from llm_gateway.flow.ports.limits import Verdict

# Nanoseconds, as `time.monotonic_ns` counts them.
WINDOW = 1_000_000_000
# The most cells of one ring.
CELLS = 1000
# What is where: whose ring it is, its number of places, the next place, how many of the cells that come next
# were free (a hint); then the cells.
OWNER, LIMIT, PLACE, FREE, FIRST = 0, 1, 2, 3, 8
# Integers that hold any ring.
RING_SIZE = FIRST + CELLS
# Stands for the limit while a ring is being rewritten: a process that finds it knows that the writer was killed.
_TORN = -1


class Ring(Protocol):
    """A row of signed 64-bit integers, zero at first."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None:
        """Store one integer in a single write."""


def ring_size(limit: int) -> int:
    """Return how many integers a ring of `limit` needs."""
    return FIRST + min(limit, CELLS)


def refused(limit: int) -> Verdict:
    """Return the verdict that rejects a request, with a second to wait."""
    return Verdict(False, limit, 0, 1.0, 1.0)


def take(ring: Ring, limit: int, now: int) -> Verdict:
    """Take one of `limit` (1 or more) places at `now`, if one is free.

    `now` never goes back from one call to the next. Whoever shares the ring holds a lock around the call.
    """
    if ring[LIMIT] != limit:
        refusal = _resize(ring, limit, now)
        if refusal is not None:
            return refusal
    place = ring[PLACE]
    if limit <= CELLS:
        group, cells, cell, begun = 1, limit, place, 0
    else:
        group, cells = _shape(limit)
        cell = place // group
        begun = place - cell * group
    free_at = ring[FIRST + cell]
    until = now + WINDOW
    if begun:
        if free_at <= now:
            # A group that was begun over a second ago starts again at its first place.
            place -= begun
            begun = 0
    elif now < free_at <= until:
        return Verdict(False, limit, 0, (free_at - now) / WINDOW, (_newest(ring, limit) - now) / WINDOW)
    place = place + 1 if place + 1 < limit else 0
    ring[PLACE] = place
    ring[FIRST + cell] = until
    # The cells from the one after this on are free in a row, for they age in order: as many as last time,
    # less this one, and what has become free since. `edge` is the first that is not.
    last = cells - 1
    if ring[FIRST + (cell or cells) - 1] <= now:
        # The one before is the newest of all others: they are all free.
        free, edge = last, cell
    else:
        free = ring[FREE] if begun else ring[FREE] - 1
        edge = cell + free - (cells if cell + free >= cells else 0)
        if not 0 < free <= last or ring[FIRST + edge] > now:
            free, edge = 0, cell
        edge = edge + 1 if edge < last else 0
        while free < last and ring[FIRST + edge] <= now:
            free += 1
            edge = edge + 1 if edge < last else 0
    ring[FREE] = free
    remaining = edge * group - place
    remaining += limit if remaining < 0 else 0
    if remaining:
        return Verdict(True, limit, remaining, 0.0, 1.0)
    following = cell + 1 if cell < last else 0
    return Verdict(True, limit, 0, (ring[FIRST + following] - now) / WINDOW, 1.0)


def full(ring: Ring, limit: int, now: int) -> Verdict | None:
    """Return the verdict that `take` would refuse a request with; None if it would not. Takes nothing.

    Needs no lock: a ring that changes meanwhile, or has another limit still, gives an answer of a moment ago or None.
    """
    if ring[LIMIT] != limit:
        return None
    cell, begun = divmod(ring[PLACE], _shape(limit)[0])
    if begun or not 0 < (wait := ring[FIRST + cell] - now) <= WINDOW:
        return None
    return Verdict(False, limit, 0, wait / WINDOW, (_newest(ring, limit) - now) / WINDOW)


def is_idle(ring: Ring, now: int) -> bool:
    """Tell whether no admission of the last second is in the ring at `now`, so that it may be dropped."""
    limit = ring[LIMIT]
    if limit == _TORN:
        return all(ring[index] <= now for index in range(FIRST, RING_SIZE))
    return limit == 0 or _newest(ring, limit) <= now


def reset(ring: Ring, owner: int) -> None:
    """Empty an idle ring and give it to `owner`."""
    ring[LIMIT] = 0
    ring[PLACE] = 0
    ring[OWNER] = owner


@lru_cache(maxsize=4096)
def _shape(limit: int) -> tuple[int, int]:
    """Return the places of a group (the last may have fewer) and the number of groups."""
    group = -(-limit // CELLS)
    return group, -(-limit // group)


def _newest(ring: Ring, limit: int) -> int:
    """Return when the place that was taken last is free again."""
    group, _ = _shape(limit)
    return ring[FIRST + ((ring[PLACE] or limit) - 1) // group]


def _resize(ring: Ring, limit: int, now: int) -> Verdict | None:
    """Change the ring to `limit` places, keeping the admissions of the last second.

    When these use up the new limit already, leave the ring unchanged and return the verdict that rejects. So
    no admission is forgotten, and workers that have different configurations for a moment admit no more than
    the larger of their limits.
    """
    taken = _last_second(ring, limit, now)
    surplus = sum(count for _, count in taken) - limit
    if surplus >= 0 and ring[LIMIT] != _TORN:
        for free_at, count in taken:
            surplus -= count
            if surplus < 0:
                return Verdict(False, limit, 0, (free_at - now) / WINDOW, (taken[-1][0] - now) / WINDOW)
    group, cells = _shape(limit)
    new_cells = [0] * cells
    place = 0
    for free_at, count in taken:
        for cell in range(place // group, (place + count - 1) // group + 1):
            new_cells[cell] = free_at
        place += count
    ring[LIMIT] = _TORN
    for index, free_at in enumerate(new_cells, FIRST):
        ring[index] = free_at
    ring[PLACE] = place % limit
    ring[FREE] = 0
    ring[LIMIT] = limit
    return None


def _last_second(ring: Ring, new_limit: int, now: int) -> list[tuple[int, int]]:
    """Return (free again at, places) of what was taken in the last second, oldest first."""
    limit, place = ring[LIMIT], ring[PLACE]
    if limit == _TORN:
        # Unknown: assume that all places were taken just now.
        return [(now + WINDOW, new_limit)]
    if limit == 0:
        return []
    group, cells = _shape(limit)
    current, begun = divmod(place, group)
    taken = []
    for step in range(1 if begun else 0, cells):
        cell = (current + step) % cells
        taken.append((ring[FIRST + cell], min(group, limit - cell * group)))
    if begun:
        taken.append((ring[FIRST + current], begun))
    return [entry for entry in taken if 0 < entry[0] - now <= WINDOW]
