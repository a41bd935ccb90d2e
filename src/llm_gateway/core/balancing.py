"""Smooth weighted round-robin: exact shares in every cycle, spread as evenly as they can be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


class SmoothWeightedRoundRobin:
    """One ring of targets, each with a running credit.

    A pick adds to every target its weight, takes the target with the most credit, and takes the sum
    of the weights from it. Over any `sum(weights)` picks in a row from a fresh ring each target is
    picked exactly `weight` times. Credits are kept by key, so a change of weights or of targets goes on
    from where the ring stood: nobody is served twice for it and nobody starves.
    """

    __slots__ = ("_credits",)

    def __init__(self) -> None:
        """Start with everyone at nought."""
        self._credits: dict[Hashable, int] = {}

    def order(self, keys: Sequence[Hashable], weights: Sequence[int]) -> list[int]:
        """Pick one target and return the indexes of all: the pick first, then who is due next.

        `weights` are positive. Only the pick is charged; the others are the fallbacks of one request.
        """
        credit = self._credits
        total = 0
        due: list[tuple[int, int]] = []
        for index, key in enumerate(keys):
            weight = weights[index]
            total += weight
            now = credit.get(key, 0) + weight
            credit[key] = now
            due.append((-now, index))
        due.sort()
        winner = due[0][1]
        credit[keys[winner]] -= total
        return [index for _, index in due]

    def rebase(self, keys: Sequence[Hashable], weights: Sequence[int]) -> None:
        """Carry the credits over to new weights or targets: clip each to its weight, sum to nought."""
        kept = {key: self._credits.get(key, 0) for key in keys}
        total = sum(weights)
        for key, weight in zip(keys, weights, strict=True):
            kept[key] = max(-(total - weight), min(weight, kept[key]))
        excess = sum(kept.values())
        for key, weight in zip(keys, weights, strict=True):
            if excess == 0:
                break
            low, high = -(total - weight), weight
            moved = max(low, min(high, kept[key] - excess))
            excess -= kept[key] - moved
            kept[key] = moved
        self._credits = dict(kept)
