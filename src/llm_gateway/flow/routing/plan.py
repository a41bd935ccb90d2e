"""Plans a request: which deployments may serve it, selected one at a time as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest, ModelNotFound, Unavailable
from llm_gateway.core.model_request import BoundRequest, ModelRequest
from llm_gateway.flow.routing.priced_models import not_priced
from llm_gateway.flow.routing.selector import Candidate, CandidateSet, LookedUp, RouteState, Selector

_HEADER = "header:"


class Plan:
    """The deployments for one request, each at most once: those of its route, then those of its fallback models.

    Deployments are selected lazily: a request that succeeds at once only calls `first`.
    """

    __slots__ = (
        "_account", "_affinity", "_created_at", "_endpoint", "_excluded", "_ignore_breakers", "_models", "_position",
        "_retryable", "_route_state", "_selector", "_snapshot", "_whole_route", "budget", "candidate_set",
        "is_pinned", "route",
    )  # fmt: skip

    def __init__(
        self,
        selector: Selector,
        snapshot: Snapshot,
        account: Principal,
        route: Route,
        endpoint: EndpointName,
        affinity: bytes | None,
        fallbacks: tuple[str, ...],
        *,
        is_pinned: bool,
        created_at: int = 0,
        looked_up: LookedUp | None = None,
    ) -> None:
        """Plan one request, which came at `created_at`, in Unix microseconds; 0 unless the account requires prices.

        `route` is that of the requested model, without deployments that lack `endpoint`. `looked_up` is what the
        selector returned for it.
        """
        self._selector = selector
        self._snapshot = snapshot
        self._account = account
        self._endpoint = endpoint
        self._affinity = affinity
        self._created_at = created_at
        # The route with the deployments that are known not to serve it; None when none are left out.
        self._whole_route: Route | None = None
        self.route = route
        # The request refers to data stored at the provider of this route, so no other model can serve it.
        self.is_pinned = is_pinned
        self._route_state, self.candidate_set = looked_up or selector.look_up(route, snapshot)
        self.budget = self._route_state.budget
        self._models = fallbacks
        # -1 = the route itself, otherwise an index into `_models`.
        self._position = -1
        # Set when every breaker refuses an attempt: then all deployments are tried rather than none.
        self._ignore_breakers = False
        self._excluded: set[tuple[int, str]] | None = None
        # Failed candidates that may be retried, oldest failure first, each with the time of its earliest retry.
        self._retryable: dict[Candidate, float] = {}

    def first(self, now: float) -> Candidate:
        """Return the first candidate. `make_plan` guarantees that there is one."""
        self.budget.requests += 1
        if not self._selector.unserved.is_empty:
            self._leave_out_unserved(now)
        found = self._selector.first(self._route_state, self.candidate_set, self._affinity, now)
        return cast("Candidate", found or self.next(now))

    def next(self, now: float) -> Candidate | None:
        """Return the next untried candidate, of this route or of a fallback model; None when there is none.

        Models for which every breaker refuses an attempt are skipped. If that leaves no candidate for the whole
        request, breakers are ignored.
        """
        if not self._ignore_breakers:
            for route_state, candidates in self._remaining_routes(now):
                if candidates.is_blocked(now):
                    continue
                if (found := self._choose(route_state, candidates, now)) is not None:
                    return found
            if self._excluded is not None:
                return None
            self._ignore_breakers, self._position = True, -1
        for route_state, candidates in self._remaining_routes(now):
            if (found := self._choose(route_state, candidates, now)) is not None:
                return found
        return None

    def exclude(self, candidate: Candidate) -> None:
        """Do not return this candidate's deployment from `next` again."""
        if self._excluded is None:
            self._excluded = set()
        self._excluded.add(candidate.deployment.key)

    def failed(self, candidate: Candidate, ready_at: float | None) -> None:
        """Record a failed candidate. It may be retried from `ready_at` on (monotonic seconds), None = never."""
        self.exclude(candidate)
        self._retryable.pop(candidate, None)
        if ready_at is not None:
            self._retryable[candidate] = ready_at

    def next_retry(self, now: float) -> tuple[Candidate, float] | None:
        """Return the candidate that may be retried first, and in how many seconds; None when there is none."""
        waits = [(max(at - now, self._blocked_for(each, now)), each) for each, at in self._retryable.items()]
        if not waits:
            return None
        wait, candidate = min(waits, key=lambda pair: pair[0])
        return candidate, max(wait, 0.0)

    def allows(self, candidate: Candidate, now: float) -> bool:
        """Return whether a candidate may be tried now, because its breaker allows it or is ignored in a panic."""
        return candidate.breaker.allows(now) or self._candidate_set_of(candidate).in_panic(now)

    def unserved(self, candidate: Candidate, now: float) -> None:
        """Remember that a candidate answered that it has no such model or endpoint."""
        self._selector.unserved.remember(
            candidate.deployment, candidate.route.model, self._endpoint, self._snapshot, now
        )

    def widen(self, now: float, *, nobody_serves: bool) -> None:
        """Continue with deployments of the model that were left out because they are known not to serve it.

        `nobody_serves`: every deployment that was tried answered that it does not serve the model; only then those
        that do not list it are tried.
        """
        route, self._whole_route = self._whole_route, None
        if route is None:
            return
        if not nobody_serves:
            route = self._selector.unserved.listed(route, self._endpoint, self._snapshot, now)
        self._turn_to(route)
        self._models, self._position, self._ignore_breakers = (), -1, False

    def switch_to(self, models: tuple[str, ...]) -> None:
        """Continue with these models instead of everything planned so far."""
        self._whole_route = None
        self._retryable.clear()
        self._ignore_breakers = False
        self._models = models
        self._position = 0

    def _choose(self, route_state: RouteState, candidate_set: CandidateSet, now: float) -> Candidate | None:
        excluded = self._excluded or ()
        untried = [each.index for each in candidate_set.candidates if each.deployment.key not in excluded]
        among = candidate_set.allowed(untried, now)
        if not among:
            return None
        # Only a request's first attempt at a route counts for the route's shares.
        is_first = len(untried) == len(candidate_set.candidates)
        return self._selector.choose(route_state, candidate_set, among, self._affinity, now, charge=is_first)

    def _remaining_routes(self, now: float) -> Iterable[tuple[RouteState, CandidateSet]]:
        """Yield the route at the current position and those after it, with their state."""
        if self._position < 0:
            yield self._route_state, self.candidate_set
            self._position = 0
        while self._position < len(self._models):
            route = fallback_route(
                self._snapshot,
                self._account,
                self._models[self._position],
                self._endpoint,
                self._created_at,
            )
            if route is not None:
                route = self._selector.unserved.served(route, self._endpoint, self._snapshot, now)
                yield self._selector.look_up(route, self._snapshot)
            self._position += 1

    def _leave_out_unserved(self, now: float) -> None:
        whole = self.route
        served = self._selector.unserved.served(whole, self._endpoint, self._snapshot, now)
        if served is not whole and not self.is_pinned:
            self._whole_route = whole
            self._turn_to(served)

    def _turn_to(self, route: Route) -> None:
        """Continue with `route`. The budget stays: what was taken from it is returned to it."""
        self.route = route
        self._route_state, self.candidate_set = self._selector.look_up(route, self._snapshot)

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
    looked_up: LookedUp | None = None,
) -> Plan:
    """Return the plan for one request.

    `fallbacks`, else the request's own, replace the fallback models of the route's own model. `looked_up` is what
    the selector returned for the route when the request began; a newer configuration may be in force meanwhile.

    Raise ModelNotFound when no deployment can serve it, and ModelNotPriced when the credential requires known prices
    and none that can has any. Raise BadRequest when it refers to data stored at one provider, and it is unknown at
    which one of several, or that one does not serve the model.
    """
    endpoint, rules = request.endpoint, route.rules
    models = fallbacks if fallbacks is not None else request.fallbacks
    if models is None:
        models = rules.fallbacks
    created_at = 0
    if account.requires_pricing:
        created_at = request.created * 1_000_000
        route = _priced_route(snapshot, account, route, models, endpoint, created_at)
    if request.stateful_field is not None:
        if isinstance(request, BoundRequest):
            others = (*models, *rules.context_fallbacks, *rules.policy_fallbacks)
            route = _bound_route(snapshot, account, route, others, request)
        else:
            _check_single_provider(route.answering(endpoint), request.stateful_field)
        models = ()
    if endpoint not in route.endpoints:
        route = route.answering(endpoint)
        if not route.deployments:
            _check_fallbacks(snapshot, account, route.model, models, endpoint, created_at)
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
        created_at=created_at,
        looked_up=looked_up,
    )


def _priced_route(
    snapshot: Snapshot,
    account: Principal,
    route: Route,
    fallbacks: tuple[str, ...],
    endpoint: EndpointName,
    created_at: int,
) -> Route:
    """Return `route` without deployments that have no prices; raise ModelNotPriced if that leaves nothing to try."""
    priced = route.priced(created_at)
    if (
        priced is route
        or priced.answering(endpoint).deployments
        or not route.answering(endpoint).deployments
        or any(fallback_route(snapshot, account, model, endpoint, created_at) for model in fallbacks)
    ):
        return priced
    raise not_priced(route.model)


def _check_single_provider(route: Route, field: str) -> None:
    if len(route.deployments) > 1:
        message = (
            f"'{field}' refers to data stored at one provider, but this model has {len(route.deployments)} "
            "providers. Use a model with a single provider, or send the whole conversation in 'input'."
        )
        raise BadRequest(message, code="bound_to_one_provider", param=field)


def _bound_route(
    snapshot: Snapshot,
    account: Principal,
    route: Route,
    fallbacks: tuple[str, ...],
    request: BoundRequest,
) -> Route:
    """Return the route to the provider that has the data, for the model or for a fallback that answered."""
    found = route.answering_at(request.endpoint, request.provider_id)
    if found.deployments:
        return found
    for model in fallbacks:
        fallback = fallback_route(snapshot, account, model, request.endpoint, request.created * 1_000_000)
        if fallback is not None:
            found = fallback.answering_at(request.endpoint, request.provider_id)
            if found.deployments:
                return found
    message = (
        f"What '{request.stateful_field}' refers to is stored at a provider that does not serve the model "
        f"'{route.model[:200]}' at the moment. Send the whole conversation in 'input'."
    )
    raise BadRequest(message, code="previous_response_not_found", param=request.stateful_field)


def find_route(snapshot: Snapshot, model: str) -> Route:
    """Return the route of a model; raise ModelNotFound, or Unavailable when its providers are drained or faulty.

    A model without providers is still found if it has fallback models.
    """
    route = snapshot.route(model)
    if route is not None and route.deployments:
        return route
    rules = snapshot.models.get(model)
    if rules is not None and rules.fallbacks:
        return route or Route(model, (), explicit=False, rules=rules)
    if route is None:
        name = model[:200]
        message = (
            f"The model '{name}' does not exist: no provider serves it. "
            "GET /v1/models lists the available models."
        )
        raise ModelNotFound(message, param="model")
    if any(provider.upstream_model(model) is not None for provider in snapshot.left_out):
        message = (
            f"The providers of the model '{model[:200]}' cannot be used: their configuration is faulty. Ask the "
            "gateway administrator to correct it."
        )
        raise Unavailable(message, code="model_misconfigured", retry_after=1)
    message = f"All providers of the model '{model[:200]}' are drained (weight 0)."
    raise Unavailable(message, code="model_drained", retry_after=1)


def fallback_route(
    snapshot: Snapshot, account: Principal, model: str, endpoint: EndpointName, created_at: int
) -> Route | None:
    """Return the route of a fallback model; None when nothing serves it or the credential may not use it.

    `created_at`, in Unix microseconds, is when the request came: at other times other prices may be known.
    """
    if model not in account.models:
        return None
    route = snapshot.route(model)
    if route is None:
        return None
    if account.requires_pricing:
        route = route.priced(created_at)
    route = route.answering(endpoint)
    return route if route.deployments else None


def _check_fallbacks(
    snapshot: Snapshot,
    account: Principal,
    asked: str,
    models: tuple[str, ...],
    endpoint: EndpointName,
    created_at: int,
) -> None:
    """Raise ModelNotFound unless a fallback model can serve the endpoint."""
    for model in models:
        if fallback_route(snapshot, account, model, endpoint, created_at) is not None:
            return
    message = (
        f"No provider of the model '{asked[:200]}' supports /v1/{endpoint}. Use another endpoint or model."
    )
    raise ModelNotFound(message, param="model")


def task_routes(
    snapshot: Snapshot, account: Principal, task_type: str, endpoint: EndpointName, created_at: int
) -> list[Route]:
    """Return the routes of a task type's models, best first, that the credential may use."""
    models = snapshot.task_types.get(task_type, ())
    found = (fallback_route(snapshot, account, model, endpoint, created_at) for model in models)
    return [route for route in found if route is not None]


def affinity_of(
    rule: str, fields: Mapping[str, bytes | memoryview], headers: Iterable[tuple[bytes, bytes]]
) -> bytes | None:
    """Return the value that an affinity rule takes from a request, or None when the request has no such value.

    The raw JSON of a field is used, so that nothing needs to be decoded.
    """
    if rule.startswith(_HEADER):
        wanted = rule.removeprefix(_HEADER).lower().encode("latin-1", "replace")
        return next((value for name, value in headers if name == wanted and value), None)
    value = bytes(fields.get(rule, b""))
    return None if value in {b"", b"null", b'""'} else value
