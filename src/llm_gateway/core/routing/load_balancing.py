"""Weighted load balancing: smooth round robin, random, least loaded, and rendezvous hashing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence

# Scaled credits are rounded to multiples of 1/1024, which floats add without rounding errors.
_RESOLUTION = 1024


class SmoothWeightedRoundRobin:
    """Smooth weighted round robin over a set of targets, as in nginx.

    Each target has a running credit. A pick adds every target's weight to its credit, takes the target with the
    highest credit, and subtracts the sum of all weights from it. Starting from zero, any `sum(weights)`
    consecutive picks select each target exactly `weight` times.

    Credits are stored by key and survive a change of weights or targets, so frequent configuration changes
    neither starve a target nor favour one.

    After `sum(weights)` picks the credits are as they were before, and the picks repeat. Once a whole cycle has been
    recorded, it is replayed, and the credits are brought up to date only when they are needed.
    """

    __slots__ = (
        "_credits", "_cycle", "_keys", "_longest_cycle", "_position", "_recorded", "_start", "_total", "_weights",
    )  # fmt: skip

    def __init__(self, *, longest_cycle: int = 1024) -> None:
        """Cycles of more than `longest_cycle` picks are not recorded."""
        self._longest_cycle = longest_cycle
        self._credits: dict[Hashable, float] = {}
        # The sum of the weights that the credits refer to.
        self._total = 0
        # What is recorded or replayed: the targets, the picks so far, and the credits before them.
        self._keys: Sequence[Hashable] = ()
        self._weights: Sequence[int] = ()
        self._recorded: list[int] = []
        self._start: dict[Hashable, float] = {}
        # The picks of a whole cycle; () until one was recorded. The credits lack the first `_position` of them.
        self._cycle: tuple[int, ...] = ()
        self._position = 0

    def pick(self, keys: Sequence[Hashable], weights: Sequence[int]) -> int:
        """Return the index of the next target and charge it. `weights` must be positive.

        A sequence that was passed before must not have changed.
        """
        cycle = self._cycle
        if cycle and keys is self._keys and weights is self._weights:
            position = self._position
            following = position + 1
            self._position = following if following < len(cycle) else 0
            return cycle[position]
        if keys is not self._keys or weights is not self._weights:
            self._settle()
            self._keys, self._weights = keys, weights
            self._start = self._credits.copy()
        winner = self._charge(keys, weights)
        if self._total <= self._longest_cycle:
            self._record(winner)
        return winner

    def _record(self, winner: int) -> None:
        self._recorded.append(winner)
        if len(self._recorded) == self._total:
            if self._credits == self._start:
                self._cycle = tuple(self._recorded)
            # If not, the picks before were not regular yet, because the weights have changed.
            self._start = self._credits.copy()
            self._recorded = []

    def _settle(self) -> None:
        """Bring the credits up to date; what follows is not the next pick of the cycle."""
        for _ in range(self._position):
            self._charge(self._keys, self._weights)
        self._position = 0
        self._cycle = self._keys = self._weights = ()
        self._recorded = []

    def _charge(self, keys: Sequence[Hashable], weights: Sequence[int]) -> int:
        credit = self._credits
        total = winner = 0
        most = -math.inf
        for index, key in enumerate(keys):
            weight = weights[index]
            total += weight
            now = credit.get(key, 0) + weight
            credit[key] = now
            if now > most:
                winner, most = index, now
        credit[keys[winner]] -= total
        self._total = total
        return winner

    def pick_among(self, keys: Sequence[Hashable], weights: Sequence[int], indexes: Sequence[int]) -> int:
        """Like `pick`, but among `indexes` only; the credits of all other targets stay unchanged."""
        self._settle()
        credit = self._credits
        total = 0
        for index in indexes:
            total += weights[index]
            credit[keys[index]] = credit.get(keys[index], 0) + weights[index]
        winner = self.peek(keys, indexes)
        credit[keys[winner]] -= total
        return winner

    def peek(self, keys: Sequence[Hashable], indexes: Sequence[int]) -> int:
        """Return which of `indexes` has the highest credit, without charging it.

        Used after `pick`, when the target that it returned has failed and another one takes its place.
        """
        self._settle()
        return max(indexes, key=lambda index: (self._credits.get(keys[index], 0), -index))

    def rebase(self, keys: Sequence[Hashable], weights: Sequence[int]) -> None:
        """Carry the credits over to new weights or targets, limited to one pick each; new targets start even.

        In the first cycle after this, a target is picked at most once too often or too rarely. From the second
        cycle on the shares are exact.
        """
        self._settle()
        if not keys:
            return
        total = sum(weights)
        scale = total / self._total if self._total else 1.0
        owed = [self._credits.get(key, 0) * scale for key in keys]
        # Spread the credits of removed targets evenly over the remaining ones, so that the sum is zero again.
        even = sum(owed) / len(owed)
        self._credits = {
            key: round(max(-total, min(total, credit - even)) * _RESOLUTION) / _RESOLUTION
            for key, credit in zip(keys, owed, strict=True)
        }
        self._total = total


def draw_by_weight(weights: Sequence[int], indexes: Sequence[int], draw: float) -> int:
    """Return one of `indexes`, with probabilities proportional to the weights; `draw` is random in [0, 1)."""
    remaining = draw * sum(weights[index] for index in indexes)
    for index in indexes:
        remaining -= weights[index]
        if remaining < 0:
            return index
    return indexes[-1]


def least_loaded(weights: Sequence[int], loads: Sequence[float], indexes: Sequence[int]) -> list[int]:
    """Return those of `indexes` with the lowest load divided by weight; several when they tie."""
    least = math.inf
    found: list[int] = []
    for index in indexes:
        load = loads[index] / weights[index]
        if load < least:
            least, found = load, [index]
        elif load == least:
            found.append(index)
    return found


def rendezvous(value: bytes, names: Sequence[bytes], weights: Sequence[int], indexes: Sequence[int]) -> int:
    """Return which of `indexes` a value maps to, by weighted rendezvous hashing.

    Each target's score is a hash of the value and the target's name, scaled by weight; the highest score wins.
    The result is the same in every process and after every restart. When a target is removed, only its own
    values move, and they spread over the other targets by weight.
    """
    return max(indexes, key=lambda index: _score(value, names[index], weights[index]))


def _score(value: bytes, name: bytes, weight: int) -> float:
    digest = hashlib.blake2b(name + b"\0" + value, digest_size=8).digest()
    # 52 bits plus one half: never exactly 0 or 1, so the logarithm is negative and finite.
    drawn = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return -weight / math.log(drawn)
