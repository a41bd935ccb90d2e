"""Chooses who serves the next request: the only mutable routing state, which outlives every snapshot."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from copy import copy, deepcopy
from weakref import WeakSet, WeakValueDictionary

from llm_gateway.core.config.snapshot import Deployment, Route, Snapshot
from llm_gateway.core.routing.circuit_breaker import BreakerRules
from llm_gateway.core.routing.load_balancing import (
    SmoothWeightedRoundRobin,
    draw_by_weight,
    least_loaded,
    rendezvous,
)
from llm_gateway.core.routing.retry import RetryBudget
from llm_gateway.flow.routing.deployment_state import DeploymentState, Opened

# Names that only wildcard providers serve come from clients: the rings of the oldest are forgotten.
_RINGS = 16_384
# Below this many, rings of models that are gone are in nobody's way.
_FEW = 1024


class Candidate:
    """A deployment as a route offers it, with its standing."""

    __slots__ = ("breaker", "deployment", "index", "route", "standing")

    def __init__(self, route: Route, index: int, standing: DeploymentState) -> None:
        """Stand for the route's deployment at `index`."""
        self.route = route
        self.index = index
        self.deployment: Deployment = route.deployments[index]
        self.standing = standing
        self.breaker = standing.breaker


class CandidateSet:
    """A route's candidates, fixed for as long as its snapshot is in force."""

    __slots__ = ("candidates", "names", "route")

    def __init__(self, route: Route, standings: Sequence[DeploymentState]) -> None:
        """Put each deployment beside its standing."""
        self.route = route
        self.candidates = tuple(Candidate(route, index, each) for index, each in enumerate(standings))
        # For hashing: the same on every machine and after every restart.
        self.names = tuple(f"{number}/{model}".encode() for number, model in route.keys)

    def is_shut(self, now: float) -> bool:
        """Tell whether no breaker of it admits anyone."""
        return not any(candidate.breaker.admits(now) for candidate in self.candidates)

    def panics(self, now: float) -> bool:
        """Tell whether over half of it, by weight, is behind breakers that admit nobody."""
        weights = self.route.weights
        shut = sum(
            weights[candidate.index] for candidate in self.candidates if not candidate.breaker.admits(now)
        )
        return 2 * shut > sum(weights)

    def allowed(self, indexes: Sequence[int], now: float) -> Sequence[int]:
        """Return those of `indexes` that may be asked: all in a panic, else those whose breaker admits."""
        if self.panics(now):
            return indexes
        return [index for index in indexes if self.candidates[index].breaker.admits(now)]


class RouteState:
    """What is remembered of one public model: whose turn it is, and what its requests may still cost."""

    __slots__ = ("budget", "lineup", "turn")

    def __init__(self, turn: SmoothWeightedRoundRobin, budget: RetryBudget) -> None:
        """Begin without a lineup: `Selector.ring` sets it."""
        self.turn = turn
        self.budget = budget
        self.lineup: CandidateSet | None = None


class Selector:
    """Chooses among a route's deployments, and keeps every deployment's standing."""

    def __init__(
        self,
        *,
        rules: BreakerRules | None = None,
        draw: Callable[[], float] = random.random,
        opened: Opened | None = None,
        original: Selector | None = None,
    ) -> None:
        """Start every model at the same point; `draw` gives random numbers in [0, 1).

        `opened` is told whenever a breaker opens. What is known to `original` is copied from there when needed.
        """
        self.draw = draw
        self._rules = rules or BreakerRules()
        self._opened = opened
        # Rings of models that some provider names, and of names that only wildcard providers serve.
        self._named: dict[Hashable, RouteState] = {}
        self._on_demand: dict[Hashable, RouteState] = {}
        self._prune_at = _FEW
        # A standing lives for as long as a lineup, or an attempt, holds it.
        self._standings: WeakValueDictionary[tuple[int, str], DeploymentState] = WeakValueDictionary()
        # Whose breaker has opened and was not seen closed since.
        self._troubled: WeakSet[DeploymentState] = WeakSet()
        self._original = original

    def ring(self, route: Route, snapshot: Snapshot) -> tuple[RouteState, CandidateSet]:
        """Return what is remembered of a route of this snapshot, and its candidates."""
        rings = self._named if route.explicit else self._on_demand
        ring = rings.get(route.ring)
        if ring is None:
            ring = self._new_ring(route, rings, snapshot)
        lineup = ring.lineup
        if lineup is None or lineup.route is not route:
            lineup = self._line_up(ring, route)
        return ring, lineup

    def first(
        self, ring: RouteState, lineup: CandidateSet, affinity: bytes | None, now: float
    ) -> Candidate | None:
        """Return whose turn it is, and count it as served; None when no breaker admits anyone."""
        candidates = lineup.candidates
        for candidate in candidates:
            if not candidate.breaker.closed:
                break
        else:
            if len(candidates) == 1:
                return candidates[0]
            if not candidates:
                return None
            route = lineup.route
            if affinity is None and route.rules.strategy == "weighted_round_robin":
                return candidates[ring.turn.pick(route.keys, route.weights)]
            return self.choose(ring, lineup, range(len(candidates)), affinity, now, charge=True)
        if lineup.is_shut(now):
            return None
        among = lineup.allowed(range(len(candidates)), now)
        return self.choose(ring, lineup, among, affinity, now, charge=True)

    def choose(
        self,
        ring: RouteState,
        lineup: CandidateSet,
        among: Sequence[int],
        affinity: bytes | None,
        now: float,
        *,
        charge: bool = False,
    ) -> Candidate:
        """Return one of `among` as the route's strategy has it; `charge` counts it as the request's first."""
        route, strategy = lineup.route, lineup.route.rules.strategy
        if affinity is not None:
            return lineup.candidates[rendezvous(affinity, lineup.names, route.weights, among)]
        if strategy == "weighted_random":
            return lineup.candidates[draw_by_weight(route.weights, among, self.draw())]
        if strategy == "least_busy":
            loads = [candidate.standing.load(now) for candidate in lineup.candidates]
            among = least_loaded(route.weights, loads, among)
        if charge:
            return lineup.candidates[ring.turn.pick_among(route.keys, route.weights, among)]
        return lineup.candidates[ring.turn.most_owed(route.keys, among)]

    def shut(self) -> dict[str, list[DeploymentState]]:
        """Return the deployments whose breaker is not closed, by their provider's key."""
        found: dict[str, list[DeploymentState]] = {}
        for standing in list(self._troubled):
            if standing.breaker.closed:
                self._troubled.discard(standing)
            else:
                found.setdefault(standing.provider_key, []).append(standing)
        return found

    def allow_trial(self, provider_key: str, now: float) -> None:
        """Let the provider's open breakers admit a trial now, since it gave a sign of life."""
        for standing in self.shut().get(provider_key, ()):
            standing.breaker.allow_trial(now)

    def known_ring(self, route: Route) -> RouteState | None:
        """Return what is remembered of a route, None when that is nothing."""
        return (self._named if route.explicit else self._on_demand).get(route.ring)

    def known_standing(self, key: tuple[int, str]) -> DeploymentState | None:
        """Return a deployment's standing, None when nobody looked at it yet."""
        return self._standings.get(key)

    def copy(self) -> Selector:
        """Return a selector that would choose as this one would, and changes nothing of it."""
        return Selector(rules=self._rules, draw=self.draw, original=self)

    def _note_opened(self, standing: DeploymentState, seconds: float) -> None:
        self._troubled.add(standing)
        if self._opened is not None:
            self._opened(standing, seconds)

    def _new_ring(self, route: Route, rings: dict[Hashable, RouteState], snapshot: Snapshot) -> RouteState:
        if rings is self._named:
            if len(rings) >= self._prune_at:
                self._forget_gone(snapshot)
        elif len(rings) >= _RINGS:
            del rings[next(iter(rings))]
        ring = self._copied_ring(route) or RouteState(SmoothWeightedRoundRobin(), RetryBudget())
        # The dictionary may be a new one.
        (self._named if route.explicit else self._on_demand)[route.ring] = ring
        return ring

    def _copied_ring(self, route: Route) -> RouteState | None:
        known = self._original.known_ring(route) if self._original is not None else None
        if known is None:
            return None
        ring = RouteState(deepcopy(known.turn), copy(known.budget))
        if known.lineup is not None:
            ring.lineup = CandidateSet(known.lineup.route, self._standings_of(known.lineup.route))
        return ring

    def _forget_gone(self, snapshot: Snapshot) -> None:
        kept = {
            key: ring
            for key, ring in self._named.items()
            if ring.lineup is not None and snapshot.names(ring.lineup.route.model)
        }
        self._named = kept
        self._prune_at = max(_FEW, 2 * len(kept))

    def _line_up(self, ring: RouteState, route: Route) -> CandidateSet:
        old = ring.lineup.route if ring.lineup is not None else None
        if old is None or (old.weights, old.keys) != (route.weights, route.keys):
            ring.turn.rebase(route.keys, route.weights)
        # Before the old lineup goes: it holds the standings that stay.
        lineup = CandidateSet(route, self._standings_of(route))
        ring.lineup = lineup
        return lineup

    def _standings_of(self, route: Route) -> list[DeploymentState]:
        return [self._standing(deployment) for deployment in route.deployments]

    def _standing(self, deployment: Deployment) -> DeploymentState:
        key = deployment.key
        standing = self._standings.get(key)
        if standing is None:
            known = self._original.known_standing(key) if self._original is not None else None
            if known is not None:
                standing = known.copy()
            else:
                standing = DeploymentState(
                    self._rules, deployment.provider_key, deployment.upstream_model, self._note_opened
                )
            self._standings[key] = standing
        standing.provider_key = deployment.provider_key
        return standing
