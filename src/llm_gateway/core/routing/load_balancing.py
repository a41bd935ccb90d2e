"""Ways to share requests among targets by weight: in exact turns, by lot, by load, or by what a request is about."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence

# Credits that were scaled are kept to this part of one, which floats add without error.
_RESOLUTION = 1024


class SmoothWeightedRoundRobin:
    """One ring of targets, each with a running credit.

    A pick adds to every target its weight, takes the target with the most credit, and takes the sum
    of the weights from it. Over any `sum(weights)` picks in a row from a fresh ring each target is
    picked exactly `weight` times. A credit is what a target is owed: divided by the sum of the weights, a
    number of picks. Kept by key, it outlives a change of weights or of targets, so nobody is served twice
    for a change and nobody starves, however often there is one.
    """

    __slots__ = ("_credits", "_total")

    def __init__(self) -> None:
        """Start with everyone at nought."""
        self._credits: dict[Hashable, float] = {}
        # The sum of weights that the credits are in proportion to.
        self._total = 0

    def pick(self, keys: Sequence[Hashable], weights: Sequence[int]) -> int:
        """Return the index of the target whose turn it is, and charge it. `weights` are positive."""
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
        """Pick from some of the targets, as though there were no others: those neither gain nor lose."""
        credit = self._credits
        total = 0
        for index in indexes:
            total += weights[index]
            credit[keys[index]] = credit.get(keys[index], 0) + weights[index]
        winner = self.peek(keys, indexes)
        credit[keys[winner]] -= total
        return winner

    def peek(self, keys: Sequence[Hashable], indexes: Sequence[int]) -> int:
        """Return which of `indexes` is due next after a pick, and charge nobody: it stands in for the pick."""
        return max(indexes, key=lambda index: (self._credits.get(keys[index], 0), -index))

    def rebase(self, keys: Sequence[Hashable], weights: Sequence[int]) -> None:
        """Carry over to new weights or targets what everyone is owed, up to one pick; newcomers start even.

        The first cycle from here gives a target one pick too many or too few at most, and from the second
        on shares are exact.
        """
        if not keys:
            return
        total = sum(weights)
        scale = total / self._total if self._total else 1.0
        owed = [self._credits.get(key, 0) * scale for key in keys]
        # What those who left were owed, or owe, is everyone's.
        even = sum(owed) / len(owed)
        self._credits = {
            key: round(max(-total, min(total, credit - even)) * _RESOLUTION) / _RESOLUTION
            for key, credit in zip(keys, owed, strict=True)
        }
        self._total = total


def draw_by_weight(weights: Sequence[int], indexes: Sequence[int], draw: float) -> int:
    """Return one of `indexes`, each as likely as its weight says; `draw` is a random number in [0, 1)."""
    left = draw * sum(weights[index] for index in indexes)
    for index in indexes:
        left -= weights[index]
        if left < 0:
            return index
    return indexes[-1]


def least_loaded(weights: Sequence[int], loads: Sequence[float], indexes: Sequence[int]) -> list[int]:
    """Return those of `indexes` whose load, for their weight, is the least: more than one when they tie."""
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
    """Return which of `indexes` a value belongs to: the same everywhere and always, and by weight over many values.

    Each target scores the value by a hash of both, and the highest score wins (weighted rendezvous hashing). So
    a target that leaves hands its own values over to the others, by their weights, and no other value moves.
    """
    return max(indexes, key=lambda index: _score(value, names[index], weights[index]))


def _score(value: bytes, name: bytes, weight: int) -> float:
    digest = hashlib.blake2b(name + b"\0" + value, digest_size=8).digest()
    # 52 bits and a half: never 0 and never 1, so the logarithm is below nought.
    drawn = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return -weight / math.log(drawn)
