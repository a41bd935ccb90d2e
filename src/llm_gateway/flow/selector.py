"""Chooses who serves the next request: the only mutable routing state, which outlives every snapshot."""

from __future__ import annotations

from collections.abc import Sequence

from llm_gateway.core.balancing import SmoothWeightedRoundRobin
from llm_gateway.core.snapshot import Deployment, Route

# Names that only wildcard providers serve come from clients: the rings of the oldest are forgotten.
_RINGS = 16_384


class _Ring:
    __slots__ = ("keys", "turn", "weights")

    def __init__(self) -> None:
        self.turn = SmoothWeightedRoundRobin()
        self.keys: tuple[tuple[int, str], ...] = ()
        self.weights: tuple[int, ...] = ()


class Selector:
    """Orders a route's deployments for one request: smooth weighted round-robin per public model."""

    def __init__(self) -> None:
        """Start every model at the same point."""
        self._rings: dict[str, _Ring] = {}

    def plan(self, route: Route) -> Sequence[Deployment]:
        """Return the deployments to try, in order, each once."""
        deployments = route.deployments
        if len(deployments) == 1:
            return deployments
        ring = self._rings.get(route.model)
        if ring is None:
            ring = self._new_ring(route.model)
        if ring.weights is not route.weights and (ring.weights, ring.keys) != (route.weights, route.keys):
            ring.turn.rebase(route.keys, route.weights)
            ring.keys, ring.weights = route.keys, route.weights
        return [deployments[index] for index in ring.turn.order(route.keys, route.weights)]

    def _new_ring(self, model: str) -> _Ring:
        if len(self._rings) >= _RINGS:
            del self._rings[next(iter(self._rings))]
        ring = self._rings[model] = _Ring()
        return ring
