"""Plans a request: who may serve it, in which order, chosen one by one as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.errors import BadRequest, ModelNotFound, Unavailable
from llm_gateway.core.model_request import Endpoint, ModelRequest
from llm_gateway.flow.routing.selector import Candidate, CandidateSet, RouteState, Selector

_HEADER = "header:"


class Plan:
    """The deployments for one request, each once: its route's, then those of the models to fall back to.

    Nothing is put in order before it is asked for. A request that goes well asks for `first` alone.
    """

    __slots__ = (
        "_account",
        "_affinity",
        "_endpoint",
        "_excluded",
        "_ignore_breakers",
        "_models",
        "_position",
        "_retryable",
        "_route_state",
        "_selector",
        "_snapshot",
        "budget",
        "candidate_set",
        "is_pinned",
        "route",
    )  # fmt: skip

    def __init__(
        self,
        selector: Selector,
        snapshot: Snapshot,
        account: Principal,
        route: Route,
        endpoint: Endpoint,
        affinity: bytes | None,
        fallbacks: tuple[str, ...],
        *,
        is_pinned: bool,
    ) -> None:
        """Plan for one request; `route` is that of the model it asked for, as far as it answers `endpoint`."""
        self._selector = selector
        self._snapshot = snapshot
        self._account = account
        self._endpoint = endpoint
        self._affinity = affinity
        self.route = route
        # It makes sense at the provider of this model alone.
        self.is_pinned = is_pinned
        self._route_state, self.candidate_set = selector.look_up(route, snapshot)
        self.budget = self._route_state.budget
        self._models = fallbacks
        # -1 = the route itself, else the place in `_models`.
        self._position = -1
        # Every breaker is open: all are asked rather than none.
        self._ignore_breakers = False
        self._excluded: set[tuple[int, str]] | None = None
        # Who was asked in vain and may be asked again, the longest ago first, and from when on.
        self._retryable: dict[Candidate, float] = {}

    def first(self, now: float) -> Candidate:
        """Return who is asked first: `make_plan` has seen to it that there is somebody."""
        self.budget.requests += 1
        found = self._selector.first(self._route_state, self.candidate_set, self._affinity, now)
        return cast("Candidate", found or self.next(now))

    def next(self, now: float) -> Candidate | None:
        """Return the next one that was not asked yet, at another deployment or at another model; or None.

        A model all of whose breakers are open is passed over. When that leaves nobody at all, all are asked
        rather than none.
        """
        if not self._ignore_breakers:
            for route_state, candidates in self._remaining_routes():
                if candidates.is_blocked(now):
                    continue
                if (found := self._choose(route_state, candidates, now)) is not None:
                    return found
            if self._excluded is not None:
                return None
            self._ignore_breakers, self._position = True, -1
        for route_state, candidates in self._remaining_routes():
            if (found := self._choose(route_state, candidates, now)) is not None:
                return found
        return None

    def exclude(self, candidate: Candidate) -> None:
        """Note that a candidate was asked, or cannot be: it is not returned again."""
        if self._excluded is None:
            self._excluded = set()
        self._excluded.add(candidate.deployment.key)

    def failed(self, candidate: Candidate, ready_at: float | None) -> None:
        """Note that a candidate was asked in vain; from `ready_at` on it may be asked again, None = never."""
        self.exclude(candidate)
        self._retryable.pop(candidate, None)
        if ready_at is not None:
            self._retryable[candidate] = ready_at

    def next_retry(self, now: float) -> tuple[Candidate, float] | None:
        """Return who may be asked again the soonest, and in how many seconds."""
        waits = [(max(at - now, self._blocked_for(each, now)), each) for each, at in self._retryable.items()]
        if not waits:
            return None
        wait, candidate = min(waits, key=lambda pair: pair[0])
        return candidate, max(wait, 0.0)

    def allows(self, candidate: Candidate, now: float) -> bool:
        """Tell whether a candidate's breaker, or a panic, lets it be asked now."""
        return candidate.breaker.allows(now) or self._candidate_set_of(candidate).in_panic(now)

    def switch_to(self, models: tuple[str, ...]) -> None:
        """Go on with these models instead of all there was."""
        self._retryable.clear()
        self._ignore_breakers = False
        self._models = models
        self._position = 0

    def _choose(self, route_state: RouteState, candidate_set: CandidateSet, now: float) -> Candidate | None:
        excluded = self._excluded or ()
        left = [each.index for each in candidate_set.candidates if each.deployment.key not in excluded]
        among = candidate_set.allowed(left, now)
        if not among:
            return None
        # A route's share is kept by the first of it that each request asks.
        untouched = len(left) == len(candidate_set.candidates)
        return self._selector.choose(route_state, candidate_set, among, self._affinity, now, charge=untouched)

    def _remaining_routes(self) -> Iterable[tuple[RouteState, CandidateSet]]:
        """Yield where the plan stands, and what comes after it."""
        if self._position < 0:
            yield self._route_state, self.candidate_set
            self._position = 0
        while self._position < len(self._models):
            route = fallback_route(
                self._snapshot, self._account, self._models[self._position], self._endpoint
            )
            if route is not None:
                yield self._selector.look_up(route, self._snapshot)
            self._position += 1

    def _blocked_for(self, candidate: Candidate, now: float) -> float:
        return 0.0 if self._candidate_set_of(candidate).in_panic(now) else candidate.breaker.trial_in(now)

    def _candidate_set_of(self, candidate: Candidate) -> CandidateSet:
        if candidate.route is self.route:
            return self.candidate_set
        return self._selector.look_up(candidate.route, self._snapshot)[1]


def make_plan(
    selector: Selector,
    snapshot: Snapshot,
    account: Principal,
    route: Route,
    request: ModelRequest,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    fallbacks: tuple[str, ...] | None = None,
) -> Plan:
    """Return the plan for one request; raise ModelNotFound when nobody could be in it.

    Raise BadRequest when it is bound to one provider and the route does not say which. `fallbacks` are the models
    to go on with, in place of those that the route's own model has.
    """
    endpoint, rules = request.endpoint, route.rules
    models = rules.fallbacks if fallbacks is None else fallbacks
    if request.stateful_field is not None:
        models = ()
        _check_bound(route.answering(endpoint), request.stateful_field)
    if endpoint not in route.endpoints:
        route = route.answering(endpoint)
        if not route.deployments:
            _check_fallbacks(snapshot, account, route.model, models, endpoint)
    affinity = None if rules.affinity is None else affinity_of(rules.affinity, request.fields, headers)
    return Plan(
        selector,
        snapshot,
        account,
        route,
        endpoint,
        affinity,
        models,
        is_pinned=request.stateful_field is not None,
    )


def _check_bound(route: Route, field: str) -> None:
    if len(route.deployments) > 1:
        message = (
            f"'{field}' names something that is kept at one provider, and this model has "
            f"{len(route.deployments)}: use a model with one provider, or send everything in 'input'."
        )
        raise BadRequest(message, code="bound_to_one_provider", param=field)


def find_route(snapshot: Snapshot, model: str) -> Route:
    """Return who may serve the model; raise ModelNotFound, or Unavailable when all of them are drained.

    A model that has models to fall back to is there for as long as one of these is.
    """
    route = snapshot.route(model)
    if route is not None and route.deployments:
        return route
    rules = snapshot.models.get(model)
    if rules is not None and rules.fallbacks:
        return route or Route(model, (), explicit=False, rules=rules)
    if route is None:
        name = model[:200]
        message = f"The model '{name}' does not exist here: no provider serves it. GET /v1/models lists all."
        raise ModelNotFound(message, param="model")
    message = f"Every provider of the model '{model[:200]}' is drained (weight 0)."
    raise Unavailable(message, code="model_drained", retry_after=1)


def fallback_route(snapshot: Snapshot, account: Principal, model: str, endpoint: Endpoint) -> Route | None:
    """Return the route of a model to fall back to; None when it is not there, or not for this credential."""
    if model not in account.models:
        return None
    route = snapshot.route(model)
    if route is None:
        return None
    route = route.answering(endpoint)
    return route if route.deployments else None


def _check_fallbacks(
    snapshot: Snapshot, account: Principal, asked: str, models: tuple[str, ...], endpoint: Endpoint
) -> None:
    """Raise ModelNotFound unless a model to fall back to can stand in for one that answers nothing."""
    for model in models:
        if fallback_route(snapshot, account, model, endpoint) is not None:
            return
    message = (
        f"No provider of the model '{asked[:200]}' answers /v1/{endpoint}; use another endpoint or model."
    )
    raise ModelNotFound(message, param="model")


def task_routes(snapshot: Snapshot, account: Principal, task_type: str, endpoint: Endpoint) -> list[Route]:
    """Return the routes of the models that do a task, best first, as far as the credential may use them."""
    models = snapshot.task_types.get(task_type, ())
    found = (fallback_route(snapshot, account, model, endpoint) for model in models)
    return [route for route in found if route is not None]


def affinity_of(
    rule: str, fields: Mapping[str, bytes | memoryview], headers: Iterable[tuple[bytes, bytes]]
) -> bytes | None:
    """Return what a request has in common with its like, by the model's affinity rule; None when it has nothing.

    A field counts as it was written, so that nothing has to be decoded.
    """
    if rule.startswith(_HEADER):
        wanted = rule.removeprefix(_HEADER).lower().encode("latin-1", "replace")
        return next((value for name, value in headers if name == wanted and value), None)
    value = bytes(fields.get(rule, b""))
    return None if value in {b"", b"null", b'""'} else value
