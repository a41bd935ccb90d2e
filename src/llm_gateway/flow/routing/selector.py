"""Selects the deployment for the next request. Holds all mutable routing state, which outlives every snapshot."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from copy import copy, deepcopy
from weakref import WeakSet, WeakValueDictionary

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Route, Snapshot
from llm_gateway.core.routing.circuit_breaker import BreakerRules
from llm_gateway.core.routing.load_balancing import (
    SmoothWeightedRoundRobin,
    draw_by_weight,
    least_loaded,
    rendezvous,
)
from llm_gateway.core.routing.retry import RetryBudget
from llm_gateway.flow.ports.listeners import notify
from llm_gateway.flow.routing.deployment_state import DeploymentState, OnOpen
from llm_gateway.flow.routing.unserved import UnservedDeployments

# Clients choose the names that only wildcard providers serve, so the number of their route states is limited:
# beyond it the oldest is dropped.
_ON_DEMAND_LIMIT = 16_384
# Route states of models that were removed are dropped once there are more states than this.
_PRUNE_FROM = 1024


class Candidate:
    """A deployment of a route, together with its state."""

    __slots__ = ("breaker", "deployment", "index", "route", "state", "timeouts")

    def __init__(self, route: Route, index: int, state: DeploymentState) -> None:
        self.route = route
        self.index = index
        self.deployment: Deployment = route.deployments[index]
        self.state = state
        self.breaker = state.breaker
        self.timeouts = route.rules.timeouts


class CandidateSet:
    """The candidates of a route. It does not change while its snapshot is in force."""

    __slots__ = ("candidates", "names", "route")

    def __init__(self, route: Route, states: Sequence[DeploymentState]) -> None:
        self.route = route
        self.candidates = tuple(Candidate(route, index, each) for index, each in enumerate(states))
        # Hashed for affinity, so they must be the same on every machine and after every restart.
        self.names = tuple(f"{number}/{model}".encode() for number, model in route.keys)

    def is_blocked(self, now: float) -> bool:
        """Return whether every breaker refuses an attempt now."""
        return not any(candidate.breaker.allows(now) for candidate in self.candidates)

    def in_panic(self, now: float) -> bool:
        """Return whether breakers refuse attempts for more than half of the set, by weight."""
        weights = self.route.weights
        blocked = sum(
            weights[candidate.index] for candidate in self.candidates if not candidate.breaker.allows(now)
        )
        return 2 * blocked > sum(weights)

    def allowed(self, indexes: Sequence[int], now: float) -> Sequence[int]:
        """Return those of `indexes` that may be tried: in a panic all, otherwise those whose breaker allows it."""
        if self.in_panic(now):
            return indexes
        return [index for index in indexes if self.candidates[index].breaker.allows(now)]


class RouteState:
    """The state of one public model: its round robin and its retry budget."""

    __slots__ = ("budget", "candidate_set", "round_robin")

    def __init__(self, round_robin: SmoothWeightedRoundRobin, budget: RetryBudget) -> None:
        self.round_robin = round_robin
        self.budget = budget
        # Set by `Selector.look_up`.
        self.candidate_set: CandidateSet | None = None


# What `look_up` returns.
LookedUp = tuple[RouteState, CandidateSet]


class Selector:
    """Selects among a route's deployments, and holds the state of every route and deployment."""

    def __init__(
        self,
        *,
        rules: BreakerRules | None = None,
        draw: Callable[[], float] = random.random,
        on_open: OnOpen | None = None,
        original: Selector | None = None,
        on_demand_limit: int = _ON_DEMAND_LIMIT,
        prune_from: int = _PRUNE_FROM,
    ) -> None:
        """Start without any state.

        `draw` returns random numbers in [0, 1). `on_open` is called whenever a breaker opens. State of `original`
        is copied when it is first needed.
        """
        self.draw = draw
        self._rules = rules or BreakerRules()
        self._on_open = on_open
        # The states of models that some provider names, and of names that only wildcard providers serve.
        self._explicit: dict[Hashable, RouteState] = {}
        self._on_demand: dict[Hashable, RouteState] = {}
        self._on_demand_limit = on_demand_limit
        self._prune_from = self._prune_at = prune_from
        # A deployment's state lives for as long as a candidate set or an attempt refers to it.
        self._deployment_states: WeakValueDictionary[tuple[int, str], DeploymentState] = WeakValueDictionary()
        # Deployments whose breaker has opened and was not found closed since.
        self._opened: WeakSet[DeploymentState] = WeakSet()
        self._original = original
        # Shared with a copy, which only reads it.
        self.unserved: UnservedDeployments = UnservedDeployments() if original is None else original.unserved

    def look_up(self, route: Route, snapshot: Snapshot) -> LookedUp:
        """Return the state and the candidates of a route of this snapshot; create what is missing."""
        states = self._explicit if route.explicit else self._on_demand
        state = states.get(route.state_key)
        if state is None:
            state = self._new_route_state(route, states, snapshot)
        candidate_set = state.candidate_set
        if candidate_set is None or candidate_set.route is not route:
            candidate_set = self._new_candidate_set(state, route)
        return state, candidate_set

    def first(
        self, route_state: RouteState, candidate_set: CandidateSet, affinity: bytes | None, now: float
    ) -> Candidate | None:
        """Select a request's first deployment and charge it; None when every breaker refuses an attempt."""
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
        """Select one of `among` by affinity or by the route's strategy.

        `charge` is set for the first deployment of a request, which alone counts for the route's shares.
        """
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

    def busy_deployments(self) -> list[DeploymentState]:
        """Return the deployments whose breaker is not closed, or that have attempts in flight."""
        return [
            state for state in self._deployment_states.values() if state.in_flight or not state.breaker.closed
        ]

    def open_breakers(self) -> dict[str, list[DeploymentState]]:
        """Return the deployments whose breaker is not closed, by provider key."""
        found: dict[str, list[DeploymentState]] = {}
        for state in list(self._opened):
            if state.breaker.closed:
                self._opened.discard(state)
            else:
                found.setdefault(state.provider_key, []).append(state)
        return found

    def allow_trial(self, provider_key: str, now: float) -> None:
        """Make a trial due for the provider's open breakers, because it responded to a probe."""
        for state in self.open_breakers().get(provider_key, ()):
            state.breaker.allow_trial(now)

    def known_route_state(self, route: Route) -> RouteState | None:
        """Return the state of a route, or None when it has none yet."""
        return (self._explicit if route.explicit else self._on_demand).get(route.state_key)

    def known_deployment_state(self, key: tuple[int, str]) -> DeploymentState | None:
        """Return the state of a deployment, or None when it has none yet."""
        return self._deployment_states.get(key)

    def copy(self) -> Selector:
        """Return a selector that makes the same choices as this one and does not affect it."""
        return Selector(rules=self._rules, draw=self.draw, original=self)

    def _breaker_opened(self, state: DeploymentState, seconds: float) -> None:
        self._opened.add(state)
        if self._on_open is not None:
            notify(self._on_open, state, seconds)

    def _new_route_state(
        self, route: Route, states: dict[Hashable, RouteState], snapshot: Snapshot
    ) -> RouteState:
        if states is self._explicit:
            if len(states) >= self._prune_at:
                self._prune(snapshot)
        elif len(states) >= self._on_demand_limit:
            del states[next(iter(states))]
        state = self._copied_route_state(route) or RouteState(SmoothWeightedRoundRobin(), RetryBudget())
        # Not `states`: pruning may have replaced the dictionary.
        (self._explicit if route.explicit else self._on_demand)[route.state_key] = state
        return state

    def _copied_route_state(self, route: Route) -> RouteState | None:
        known = self._original.known_route_state(route) if self._original is not None else None
        if known is None:
            return None
        state = RouteState(deepcopy(known.round_robin), copy(known.budget))
        if known.candidate_set is not None:
            of_route = known.candidate_set.route
            state.candidate_set = CandidateSet(of_route, self._states_of(of_route))
        return state

    def _prune(self, snapshot: Snapshot) -> None:
        """Drop the states of models that no provider names any more."""
        self._explicit = {
            key: state
            for key, state in self._explicit.items()
            if state.candidate_set is not None and snapshot.names(state.candidate_set.route.model)
        }
        self._prune_at = max(self._prune_from, 2 * len(self._explicit))

    def _new_candidate_set(self, state: RouteState, route: Route) -> CandidateSet:
        old = state.candidate_set.route if state.candidate_set is not None else None
        if old is None or (old.weights, old.keys) != (route.weights, route.keys):
            state.round_robin.rebase(route.keys, route.weights)
        # Create the new set before the old one is dropped, which may hold the only references to the states.
        candidate_set = CandidateSet(route, self._states_of(route))
        state.candidate_set = candidate_set
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
