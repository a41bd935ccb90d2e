"""Remembers which deployments have no such model or endpoint, so that requests do not try them in vain.

What is remembered belongs to this process: every worker learns it on its own, with one failover.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Route, Snapshot
from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.flow.routing.model_list import ModelList

# Seconds.
_LIFETIME = 600.0
# Clients choose the names that catch-all providers are asked for, so both numbers are limited.
_MOST_ANSWERS = 4096
_MOST_ROUTES = 4096

# `unserved`: the deployment answered so. `not_listed`: its provider takes any name, and does not list this one.
Absence = Literal["unserved", "not_listed"]
_EITHER: tuple[Absence, ...] = ("unserved", "not_listed")

# A deployment's key, the public model, and the endpoint.
_Key = tuple[tuple[int, str], str, EndpointName]


class _Answer(msgspec.Struct, frozen=True, gc=False):
    # Monotonic seconds.
    until: float
    # The rows in force when it answered; it is asked again once one of them has changed.
    provider: Provider
    model: Model | None


class _Listed(msgspec.Struct, frozen=True, gc=False):
    until: float
    provider: Provider
    models: ModelList


class _Narrowed(msgspec.Struct, frozen=True, gc=False):
    route: Route
    generation: int
    until: float
    narrowed: Route


class UnservedDeployments:
    """The deployments that answered that they have no such model or endpoint, and the model lists of providers."""

    def __init__(self, lifetime: float = _LIFETIME) -> None:
        """Forget everything after `lifetime` seconds."""
        self._lifetime = lifetime
        # Read by every request: nothing is remembered, so nothing needs to be looked up.
        self.is_empty = True
        # Oldest first.
        self._answers: dict[_Key, _Answer] = {}
        self._lists: dict[int, _Listed] = {}
        self._narrowed: dict[tuple[object, EndpointName], _Narrowed] = {}
        # Changes with every change of what is remembered.
        self._generation = 0

    def remember(
        self, deployment: Deployment, model: str, endpoint: EndpointName, snapshot: Snapshot, now: float
    ) -> None:
        """Remember that a deployment answered that it does not serve the public `model` at `endpoint`."""
        provider = snapshot.by_key.get(deployment.provider_key)
        if provider is None or provider.provider.id != deployment.provider_id:
            return
        key = (deployment.key, model, endpoint)
        self._answers.pop(key, None)
        if len(self._answers) >= _MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = _Answer(now + self._lifetime, provider.provider, snapshot.models.get(model))
        self._changed()

    def learn_list(self, provider: Provider, models: Iterable[str], now: float) -> None:
        """Take note of the complete list of a provider's models, as its row was when it was asked."""
        self._lists[provider.id] = _Listed(now + self._lifetime, provider, ModelList(models))
        self._changed()

    def forget_list(self, provider: Provider) -> None:
        """Forget the list of a provider, because it is not known to be complete any more."""
        if self._lists.pop(provider.id, None) is not None:
            self._changed()

    def served(self, route: Route, endpoint: EndpointName, snapshot: Snapshot, now: float) -> Route:
        """Return `route` without the deployments that do not serve it; `route` itself if that leaves none."""
        if len(route.deployments) < 2:
            return route
        key = (route.state_key, endpoint)
        known = self._narrowed.get(key)
        if (
            known is not None
            and known.route is route
            and known.generation == self._generation
            and now < known.until
        ):
            return known.narrowed
        self._expire(now)
        narrowed, until = self._narrow(route, endpoint, snapshot, now, _EITHER)
        if len(self._narrowed) >= _MOST_ROUTES:
            self._narrowed.clear()
        self._narrowed[key] = _Narrowed(route, self._generation, until, narrowed)
        return narrowed

    def listed(self, route: Route, endpoint: EndpointName, snapshot: Snapshot, now: float) -> Route:
        """Return `route` without the deployments that the lists rule out; `route` itself if that leaves none."""
        return self._narrow(route, endpoint, snapshot, now, ("not_listed",))[0]

    def absences(
        self, route: Route, endpoint: EndpointName, snapshot: Snapshot, now: float
    ) -> Mapping[tuple[int, str], Absence]:
        """Return why deployments of `route` do not serve it, by their key; those that do are missing."""
        found = {
            deployment.key: self._absence(deployment, route.model, endpoint, snapshot, now)
            for deployment in route.deployments
        }
        return {key: absence[0] for key, absence in found.items() if absence is not None}

    def warnings(self, snapshot: Snapshot, model: str, now: float) -> list[str]:
        """Return a sentence for each provider that is known not to serve the public `model`."""
        route = snapshot.route(model)
        if route is None or self.is_empty:
            return []
        found: dict[str, None] = {}
        for endpoint in ENDPOINTS:
            absences = self.absences(route, endpoint, snapshot, now)
            for deployment in route.deployments:
                match absences.get(deployment.key):
                    case "unserved":
                        found[
                            f"provider {deployment.provider_key!r} answered that it has no model "
                            f"{deployment.upstream_model!r} at /v1/{endpoint}"
                        ] = None
                    case "not_listed":
                        found[
                            f"provider {deployment.provider_key!r} does not list {deployment.upstream_model!r}"
                        ] = None
        return list(found)

    def _narrow(
        self,
        route: Route,
        endpoint: EndpointName,
        snapshot: Snapshot,
        now: float,
        kinds: tuple[Absence, ...],
    ) -> tuple[Route, float]:
        """Return the narrowed route, and until when it holds, in monotonic seconds."""
        left: list[Deployment] = []
        until = math.inf
        for deployment in route.deployments:
            absence = self._absence(deployment, route.model, endpoint, snapshot, now)
            if absence is not None:
                until = min(until, absence[1])
            if absence is None or absence[0] not in kinds:
                left.append(deployment)
        if not left or len(left) == len(route.deployments):
            return route, until
        narrowed = Route(route.model, tuple(left), explicit=route.explicit, rules=route.rules)
        narrowed.state_key = (route.state_key, endpoint, "served")
        return narrowed, until

    def _absence(
        self, deployment: Deployment, model: str, endpoint: EndpointName, snapshot: Snapshot, now: float
    ) -> tuple[Absence, float] | None:
        """Return why a deployment does not serve a model, and until when that is known."""
        provider = snapshot.by_key.get(deployment.provider_key)
        if provider is None:
            return None
        answer = self._answers.get((deployment.key, model, endpoint))
        if (
            answer is not None
            and now < answer.until
            and answer.provider == provider.provider
            and answer.model == snapshot.models.get(model)
        ):
            return "unserved", answer.until
        listed = self._lists.get(deployment.provider_id)
        if listed is None or now >= listed.until or listed.provider != provider.provider:
            return None
        # The operator vouches for a name that the mapping writes out, and for one that it gives a name of its own.
        if model in provider.names or deployment.upstream_model != model:
            return None
        return None if listed.models.may_have(model) else ("not_listed", listed.until)

    def _expire(self, now: float) -> None:
        answers = self._answers
        while answers and answers[oldest := next(iter(answers))].until <= now:
            del answers[oldest]
        for number in [number for number, each in self._lists.items() if each.until <= now]:
            del self._lists[number]
        self.is_empty = not (answers or self._lists)

    def _changed(self) -> None:
        self._generation += 1
        self.is_empty = not (self._answers or self._lists)
