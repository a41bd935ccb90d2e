"""Which models a credential that requires known prices may use: those whose requests are not all refused."""

from __future__ import annotations

from collections.abc import Iterable

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import ModelNotPriced


def not_priced(model: str) -> ModelNotPriced:
    """Return the error for a request to `model`, which is not priced."""
    message = (
        f"The price of the model '{model[:200]}' is not known, and this API key may only use models with known "
        "prices. Use another model, or ask the gateway administrator to set its prices."
    )
    return ModelNotPriced(message, param="model")


def priced_models(snapshot: Snapshot, account: Principal, models: Iterable[str], at: int) -> list[str]:
    """Return those of `models` that have known prices at an instant, in Unix microseconds, or a fallback that has."""
    return [model for model in models if _is_priced(snapshot, account, model, at)]


def _is_priced(snapshot: Snapshot, account: Principal, model: str, at: int) -> bool:
    route = snapshot.route(model)
    # A drained model has no deployments whose prices could be known.
    if route is None or not route.deployments or route.priced(at).deployments:
        return True
    fallbacks = (snapshot.route(name) for name in route.rules.fallbacks if name in account.models)
    return any(fallback is not None and fallback.priced(at).deployments for fallback in fallbacks)
