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
from llm_gateway.flow.routing.deployment_state import DeploymentState, OnOpen

# Names that only wildcard providers serve come from clients: the rings of the oldest are forgotten.
_ON_DEMAND_LIMIT = 16_384
# Below this many, rings of models that are gone are in nobody's way.
_PRUNE_FROM = 1024


class Candidate:
    """A deployment as a route offers it, with its standing."""

    __slots__ = ("breaker", "deployment", "index", "route", "state")

    def __init__(self, route: Route, index: int, state: DeploymentState) -> None:
        """Stand for the route's deployment at `index`."""
        self.route = route
        self.index = index
        self.deployment: Deployment = route.deployments[index]
        self.state = state
        self.breaker = state.breaker


class CandidateSet:
    """A route's candidates, fixed for as long as its snapshot is in force."""

    __slots__ = ("candidates", "names", "route")

    def __init__(self, route: Route, states: Sequence[DeploymentState]) -> None:
        """Put each deployment beside its standing."""
        self.route = route
        self.candidates = tuple(Candidate(route, index, each) for index, each in enumerate(states))
        # For hashing: the same on every machine and after every restart.
        self.names = tuple(f"{number}/{model}".encode() for number, model in route.keys)

    def is_blocked(self, now: float) -> bool:
        """Tell whether no breaker of it admits anyone."""
        return not any(candidate.breaker.allows(now) for candidate in self.candidates)

    def in_panic(self, now: float) -> bool:
        """Tell whether over half of it, by weight, is behind breakers that admit nobody."""
        weights = self.route.weights
        blocked = sum(
            weights[candidate.index] for candidate in self.candidates if not candidate.breaker.allows(now)
        )
        return 2 * blocked > sum(weights)

    def allowed(self, indexes: Sequence[int], now: float) -> Sequence[int]:
        """Return those of `indexes` that may be asked: all in a panic, else those whose breaker admits."""
        if self.in_panic(now):
            return indexes
        return [index for index in indexes if self.candidates[index].breaker.allows(now)]


class RouteState:
    """What is remembered of one public model: whose turn it is, and what its requests may still cost."""

    __slots__ = ("budget", "candidate_set", "round_robin")

    def __init__(self, round_robin: SmoothWeightedRoundRobin, budget: RetryBudget) -> None:
        """Begin without a lineup: `Selector.ring` sets it."""
        self.round_robin = round_robin
        self.budget = budget
        self.candidate_set: CandidateSet | None = None


class Selector:
    """Chooses among a route's deployments, and keeps every deployment's standing."""

    def __init__(
        self,
        *,
        rules: BreakerRules | None = None,
        draw: Callable[[], float] = random.random,
        on_open: OnOpen | None = None,
        original: Selector | None = None,
    ) -> None:
        """Start every model at the same point; `draw` gives random numbers in [0, 1).

        `opened` is told whenever a breaker opens. What is known to `original` is copied from there when needed.
        """
        self.draw = draw
        self._rules = rules or BreakerRules()
        self._on_open = on_open
        # Rings of models that some provider names, and of names that only wildcard providers serve.
        self._named: dict[Hashable, RouteState] = {}
        self._on_demand: dict[Hashable, RouteState] = {}
        self._prune_at = _PRUNE_FROM
        # A standing lives for as long as a lineup, or an attempt, holds it.
        self._deployment_states: WeakValueDictionary[tuple[int, str], DeploymentState] = WeakValueDictionary()
        # Whose breaker has opened and was not seen closed since.
        self._opened_states: WeakSet[DeploymentState] = WeakSet()
        self._original = original

    def look_up(self, route: Route, snapshot: Snapshot) -> tuple[RouteState, CandidateSet]:
        """Return what is remembered of a route of this snapshot, and its candidates."""
        route_states = self._named if route.explicit else self._on_demand
        route_state = route_states.get(route.state_key)
        if route_state is None:
            route_state = self._new_route_state(route, route_states, snapshot)
        candidate_set = route_state.candidate_set
        if candidate_set is None or candidate_set.route is not route:
            candidate_set = self._replace_candidate_set(route_state, route)
        return route_state, candidate_set

    def first(
        self, route_state: RouteState, candidate_set: CandidateSet, affinity: bytes | None, now: float
    ) -> Candidate | None:
        """Return whose turn it is, and count it as served; None when no breaker admits anyone."""
        candidates = candidate_set.candidates
        for candidate in candidates:
            if not candidate.breaker.closed:
                break
        else:
            if len(candidates) == 1:
                return candidates[0]
            if not candidates:
                return None
            route = candidate_set.route
            if affinity is None and route.rules.strategy == "weighted_round_robin":
                return candidates[route_state.round_robin.pick(route.keys, route.weights)]
            return self.choose(route_state, candidate_set, range(len(candidates)), affinity, now, charge=True)
        if candidate_set.is_blocked(now):
            return None
        among = candidate_set.allowed(range(len(candidates)), now)
        return self.choose(route_state, candidate_set, among, affinity, now, charge=True)

    def choose(
        self,
        route_state: RouteState,
        candidate_set: CandidateSet,
        among: Sequence[int],
        affinity: bytes | None,
        now: float,
        *,
        charge: bool = False,
    ) -> Candidate:
        """Return one of `among` as the route's strategy has it; `charge` counts it as the request's first."""
        route, strategy = candidate_set.route, candidate_set.route.rules.strategy
        if affinity is not None:
            return candidate_set.candidates[rendezvous(affinity, candidate_set.names, route.weights, among)]
        if strategy == "weighted_random":
            return candidate_set.candidates[draw_by_weight(route.weights, among, self.draw())]
        if strategy == "least_busy":
            loads = [candidate.state.load(now) for candidate in candidate_set.candidates]
            among = least_loaded(route.weights, loads, among)
        if charge:
            return candidate_set.candidates[
                route_state.round_robin.pick_among(route.keys, route.weights, among)
            ]
        return candidate_set.candidates[route_state.round_robin.peek(route.keys, among)]

    def open_breakers(self) -> dict[str, list[DeploymentState]]:
        """Return the deployments whose breaker is not closed, by their provider's key."""
        found: dict[str, list[DeploymentState]] = {}
        for state in list(self._opened_states):
            if state.breaker.closed:
                self._opened_states.discard(state)
            else:
                found.setdefault(state.provider_key, []).append(state)
        return found

    def allow_trial(self, provider_key: str, now: float) -> None:
        """Let the provider's open breakers admit a trial now, since it gave a sign of life."""
        for state in self.open_breakers().get(provider_key, ()):
            state.breaker.allow_trial(now)

    def known_route_state(self, route: Route) -> RouteState | None:
        """Return what is remembered of a route, None when that is nothing."""
        return (self._named if route.explicit else self._on_demand).get(route.state_key)

    def known_deployment_state(self, key: tuple[int, str]) -> DeploymentState | None:
        """Return a deployment's standing, None when nobody looked at it yet."""
        return self._deployment_states.get(key)

    def copy(self) -> Selector:
        """Return a selector that would choose as this one would, and changes nothing of it."""
        return Selector(rules=self._rules, draw=self.draw, original=self)

    def _breaker_opened(self, state: DeploymentState, seconds: float) -> None:
        self._opened_states.add(state)
        if self._on_open is not None:
            self._on_open(state, seconds)

    def _new_route_state(
        self, route: Route, route_states: dict[Hashable, RouteState], snapshot: Snapshot
    ) -> RouteState:
        if route_states is self._named:
            if len(route_states) >= self._prune_at:
                self._forget_gone(snapshot)
        elif len(route_states) >= _ON_DEMAND_LIMIT:
            del route_states[next(iter(route_states))]
        route_state = self._copy_route_state(route) or RouteState(SmoothWeightedRoundRobin(), RetryBudget())
        # The dictionary may be a new one.
        (self._named if route.explicit else self._on_demand)[route.state_key] = route_state
        return route_state

    def _copy_route_state(self, route: Route) -> RouteState | None:
        known = self._original.known_route_state(route) if self._original is not None else None
        if known is None:
            return None
        route_state = RouteState(deepcopy(known.round_robin), copy(known.budget))
        if known.candidate_set is not None:
            route_state.candidate_set = CandidateSet(
                known.candidate_set.route, self._states_of(known.candidate_set.route)
            )
        return route_state

    def _forget_gone(self, snapshot: Snapshot) -> None:
        kept = {
            key: route_state
            for key, route_state in self._named.items()
            if route_state.candidate_set is not None and snapshot.names(route_state.candidate_set.route.model)
        }
        self._named = kept
        self._prune_at = max(_PRUNE_FROM, 2 * len(kept))

    def _replace_candidate_set(self, route_state: RouteState, route: Route) -> CandidateSet:
        old = route_state.candidate_set.route if route_state.candidate_set is not None else None
        if old is None or (old.weights, old.keys) != (route.weights, route.keys):
            route_state.round_robin.rebase(route.keys, route.weights)
        # Before the old lineup goes: it holds the standings that stay.
        candidate_set = CandidateSet(route, self._states_of(route))
        route_state.candidate_set = candidate_set
        return candidate_set

    def _states_of(self, route: Route) -> list[DeploymentState]:
        return [self._state_of(deployment) for deployment in route.deployments]

    def _state_of(self, deployment: Deployment) -> DeploymentState:
        key = deployment.key
        state = self._deployment_states.get(key)
        if state is None:
            known = self._original.known_deployment_state(key) if self._original is not None else None
            if known is not None:
                state = known.copy()
            else:
                state = DeploymentState(
                    self._rules, deployment.provider_key, deployment.upstream_model, self._breaker_opened
                )
            self._deployment_states[key] = state
        state.provider_key = deployment.provider_key
        return state
