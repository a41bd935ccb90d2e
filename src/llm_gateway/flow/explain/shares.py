"""The share of a model's requests that each provider gets: what the selector makes of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.explain.answer import ExplainedRoute, Reason

# Stands for every name that nothing names: providers that serve any name serve it, too.
ANY_OTHER = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShare:
    """The requests of a model that one provider gets."""

    provider: str
    weight: int
    # Of 1. With equal load, where the strategy is `least_busy`; of all values together, where there is affinity.
    share: float
    # Why it gets none now.
    reason: Reason | None


def shares(route: ExplainedRoute, snapshot: Snapshot) -> tuple[RequestShare, ...]:
    """Return the share of each provider that serves the model; those that get none are last."""
    reasons = {one.provider: one.reason for one in route.left_out if one.reason != "not_mapped"}
    total = sum(one.weight for one in route.candidates if one.provider not in reasons)
    taking = [
        RequestShare(provider=one.provider, weight=one.weight, share=one.weight / total, reason=None)
        for one in route.candidates
        if one.provider not in reasons
    ]
    weights = {one.provider: one.weight for one in route.candidates}
    rules = snapshot.models.get(route.model)
    own = {} if rules is None else rules.weights
    for provider, reason in reasons.items():
        weight = weights.get(provider, own.get(provider, _weight(snapshot, provider)))
        taking.append(RequestShare(provider=provider, weight=weight, share=0.0, reason=reason))
    return tuple(taking)


def models_of(snapshot: Snapshot, provider_key: str) -> Iterator[str]:
    """Yield the public models that a provider serves, or would if it were enabled.

    Those of its patterns are the models that a provider names, or that have settings; and ANY_OTHER, if it serves
    every name.
    """
    serving = _find(snapshot, provider_key)
    if serving is None:
        return
    yield from serving.names
    if not serving.globs:
        return
    known = dict.fromkeys((*snapshot.explicit_models, *snapshot.models))
    yield from (
        name for name in known if name not in serving.names and serving.upstream_model(name) is not None
    )
    if serving.upstream_model(ANY_OTHER) is not None:
        yield ANY_OTHER


def served_by_it_alone(snapshot: Snapshot, provider_key: str) -> Iterator[str]:
    """Yield the models, as `models_of` does, that no provider would take requests for without this one."""
    serving = snapshot.by_key.get(provider_key)
    if serving is None:
        return
    names: Iterable[str] = serving.names
    if serving.globs:
        names = dict.fromkeys((*names, *snapshot.explicit_models, *snapshot.models, ANY_OTHER))
    for name in names:
        route = snapshot.route(name)
        takers = () if route is None else route.deployments
        # The first one rules most models out.
        if (
            takers
            and takers[0].provider_key == provider_key
            and all(one.provider_key == provider_key for one in takers)
        ):
            yield name


def _find(snapshot: Snapshot, provider_key: str) -> EnabledProvider | None:
    found = snapshot.by_key.get(provider_key)
    if found is not None:
        return found
    others = (*snapshot.disabled, *snapshot.left_out)
    return next((one for one in others if one.provider.provider_key == provider_key), None)


def _weight(snapshot: Snapshot, provider_key: str) -> int:
    found = _find(snapshot, provider_key)
    return 0 if found is None else found.provider.weight
