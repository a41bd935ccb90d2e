"""Smooth weighted round-robin: exact shares in every cycle, spread as evenly as they can be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

# Credits that were scaled are kept to this part of one, which floats add without error.
_FINEST = 1024


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

    def order(self, keys: Sequence[Hashable], weights: Sequence[int]) -> list[int]:
        """Pick one target and return the indexes of all: the pick first, then who is due next.

        `weights` are positive. Only the pick is charged; the others are the fallbacks of one request.
        """
        credit = self._credits
        total = 0
        due: list[tuple[float, int]] = []
        for index, key in enumerate(keys):
            weight = weights[index]
            total += weight
            now = credit.get(key, 0) + weight
            credit[key] = now
            due.append((-now, index))
        due.sort()
        winner = due[0][1]
        credit[keys[winner]] -= total
        self._total = total
        return [index for _, index in due]

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
            key: round(max(-total, min(total, credit - even)) * _FINEST) / _FINEST
            for key, credit in zip(keys, owed, strict=True)
        }
        self._total = total
