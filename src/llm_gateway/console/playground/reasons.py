"""Says why a provider answered a request: from its attempts, and from how requests for its model are routed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llm_gateway.console.formats import percent
from llm_gateway.console.meanings import NEXT_STEPS, OMISSIONS, REASONS
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.explain.answer import ExplainedRoute, Explanation

_STRATEGIES: Final = {
    "weighted_round_robin": "in turn, by weight",
    "weighted_random": "at random, by weight",
    "least_busy": "to the one with the fewest requests in flight for its weight",
}
_MOST_LEFT_OUT = 5


def reasons(
    record: UsageRecord, attempts: Sequence[AttemptEnded], model: str | None, explanation: Explanation | None
) -> list[str]:
    """Return sentences. `model` is the one that was asked for; `explanation` says how it is routed now."""
    if record.provider is None:
        return ["No provider was asked: the gateway refused the request."]
    if record.cache_hit:
        return [
            f"The answer is from the reply cache; {record.provider} gave it first. No provider was asked."
        ]
    told = [_failed(attempt) for attempt in attempts if attempt.next_step is not None]
    if model is not None and record.model is not None and record.model != model:
        told.append(f"{record.model} answered as a fallback of {model}.")
    routes = () if explanation is None else explanation.routes
    route = next((one for one in routes if one.model == record.model), None)
    return told if route is None else [*told, *_routed(route, record.provider, is_first=not told)]


def _failed(attempt: AttemptEnded) -> str:
    status = "" if attempt.status is None else f" with {attempt.status}"
    reason = "" if attempt.reason in {None, "status"} else f" ({REASONS.get(attempt.reason, attempt.reason)})"
    step = NEXT_STEPS.get(attempt.next_step or "", "")
    return f"{attempt.provider} failed{status}{reason}; {step}."


def _routed(route: ExplainedRoute, provider: str, *, is_first: bool) -> list[str]:
    weights = {one.provider: one.weight for one in route.candidates}
    told = []
    if len(weights) > 1 and provider in weights:
        share = weights[provider] / sum(weights.values())
        told.append(
            f"{len(weights)} providers take requests for {route.model}, {_STRATEGIES[route.strategy]}: "
            f"{provider} has {percent(share)} of the weight."
        )
        if route.affinity is not None:
            told.append(
                f"Requests with the same {route.affinity} prefer the provider that served the last one."
            )
    elif provider in weights and is_first:
        told.append(f"{provider} is the only provider that takes requests for {route.model}.")
    told += [
        f"{one.provider} is left out: {OMISSIONS[one.reason]}."
        for one in route.left_out[:_MOST_LEFT_OUT]
        if one.reason != "not_mapped"
    ]
    return told
