"""Routes that most requests can take without a plan of their own."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.served import KnownFacts
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.upstream import PendingReply, ReplyListener
from llm_gateway.flow.routing.selector import Candidate, Selector

# What has been prepared for requests to one deployment: the methods of a `BodyEncoder` and of a `PreparedRequest`,
# and what the ledger knows of such requests, unless it has to encode each as it is.
EncodeBody = Callable[[ModelRequest, Deployment], tuple[bytes, tuple[str, ...]]]
Send = Callable[[str, bytes, float, ReplyListener], PendingReply | None]
Sender = tuple[EncodeBody, Send, KnownFacts | None]


class KnownRoute:
    """A route that plans itself: `make_plan` would use it as it is for every request with this endpoint."""

    __slots__ = (
        "_breakers", "_budget", "_candidates", "_is_round_robin", "_selector", "_set", "_state", "looked_up", "route",
        "senders",
    )  # fmt: skip

    def __init__(self, selector: Selector, snapshot: Snapshot, route: Route) -> None:
        self.route = route
        self._selector = selector
        self._state, self._set = self.looked_up = selector.look_up(route, snapshot)
        self._budget = self._state.budget
        self._candidates = self._set.candidates
        self._breakers = tuple(candidate.breaker for candidate in self._candidates)
        self._is_round_robin = route.rules.strategy == "weighted_round_robin"
        # How to send to its deployments: by twice the position, plus 1 for streams. None = each request as it is.
        self.senders: dict[int, Sender | None] = {}

    def first(self, now: float) -> Candidate | None:
        """Return what `Plan.first` would, or None with nothing counted if a plan has to be made.

        So it has while a breaker is open.
        """
        if not self._selector.unserved.is_empty:
            return None
        for breaker in self._breakers:
            if not breaker.closed:
                return None
        candidates = self._candidates
        self._budget.requests += 1
        if len(candidates) == 1:
            return candidates[0]
        if self._is_round_robin:
            # As `Selector.first` does, without its frame.
            return candidates[self._state.round_robin.pick(self.route.keys, self.route.weights)]
        return self._selector.first(self._state, self._set, None, now)


def known_route(
    selector: Selector, snapshot: Snapshot, account: Principal, model: str, endpoint: EndpointName
) -> KnownRoute | None:
    """Return the route of a model if nothing about the account or the model's rules has to be looked at again.

    Requests that have a `stateful_field` need a plan nevertheless.
    """
    if account.requires_pricing or model not in account.models or account.credential.cache is not None:
        return None
    route = snapshot.route(model)
    if route is None or not route.deployments or endpoint not in route.endpoints:
        return None
    if route.rules.affinity is not None or route.rules.cache is not None:
        return None
    return KnownRoute(selector, snapshot, route)
